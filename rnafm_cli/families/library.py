"""The family library: one file of arrays with a profile, the consensus pairs and their letters for every family.

Profiles are HMMER's (Eddy 2011), built by pyhmmer from Stockholm alignments. Probabilities are kept as bytes, 20 to
one natural logarithm, so that 3,000 families take a few megabytes and are read in a tenth of a second. Shape suffixes:
F families, M match states of one family, P its consensus pairs; letters are A, C, G, U.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rnafm_cli.errors import InputError, Reject, WeightsError, raise_rejected
from rnafm_cli.families.shapes import FamilyShape
from rnafm_cli.io.stockholm import Alignment
from rnafm_cli.io.streams import atomic_path
from rnafm_cli.rna.alphabet import IUPAC_LETTERS, letter_codes
from rnafm_cli.rna.pairs import Pairs, canonical_matrix, to_dot_bracket
from rnafm_cli.weights.cards import WEIGHTS_SUFFIX, Card, card_path, file_sha256, verify_model_file, write_card
from rnafm_cli.weights.registry import SHIPPED_FAMILIES, nearest_name
from rnafm_cli.weights.store import in_folders, search_dirs

if TYPE_CHECKING:
    from pyhmmer.plan7 import HMM, Background, Builder

FORMAT = "rnafm-families"
VERSION = "2"
_READABLE = {"format": (FORMAT,), "version": ("1", VERSION), "alphabet": ("ACGU",)}
"""Of version 1 are libraries without shapes."""
SHIPPED = "shipped"
"""What names the library that comes with the program."""
_LETTERS = "ACGU"
_STEPS = 20.0
"""Bytes to one natural logarithm."""
_CANONICAL_COUNT, _ANY_COUNT = 0.3, 0.02
_UNKNOWN_TO_N = {code: "N" for code in range(ord("A"), ord("Z") + 1) if chr(code) not in IUPAC_LETTERS}


@dataclass(frozen=True, eq=False)
class Family:
    """One family.

    Args:
        accession, name, description, type, clan: as its alignment has them; empty where it has none.
        rows: sequences of the alignment.
        match_M4: letter probabilities of each match state.
        transition_M7: of node 0 (begin) to M: M-M, M-I, M-D, I-M, I-I, D-M, D-D, HMMER's order; (M + 1, 7).
        evalue: location and slope of the score statistics: MSV, Viterbi, Forward; (6,).
        pairs: consensus pairs by match state, 0-based, (P, 2).
        pair_odds_P44: log of how much more often two letters face each other than their frequencies tell.
        packed_shape: what its known 3D structures have in common, see :attr:`shape`; None where there are none.
    """

    accession: str
    name: str
    description: str
    type: str
    clan: str
    rows: int
    match_M4: NDArray[np.float32]
    transition_M7: NDArray[np.float32]
    evalue: NDArray[np.float32]
    pairs: Pairs
    pair_odds_P44: NDArray[np.float32]
    packed_shape: bytes | None = None

    def __len__(self) -> int:
        """Match states."""
        return len(self.match_M4)

    @cached_property
    def shape(self) -> FamilyShape | None:
        """What its known 3D structures have in common; None where there are none."""
        return None if self.packed_shape is None else FamilyShape.unpacked(self.packed_shape)

    @property
    def known_chains(self) -> int:
        """Chains with known 3D structure behind its shape, near copies counted once."""
        return 0 if self.shape is None else round(float(self.shape.maps_5KK[1].max()))

    @property
    def consensus(self) -> str:
        """The likeliest letter of each match state, upper case where it has at least half of the probability."""
        best = self.match_M4.argmax(axis=1)
        sure = self.match_M4.max(axis=1) >= 0.5
        return "".join(_LETTERS[k] if s else _LETTERS[k].lower() for k, s in zip(best, sure, strict=True))

    @property
    def dot_bracket(self) -> str:
        """The consensus pairs over the match states; pseudoknots in brackets and letters of their own."""
        return to_dot_bracket(self.pairs, len(self), letters=True)

    def hmm(self) -> HMM:
        """The profile as pyhmmer has it."""
        from pyhmmer.easel import Alphabet
        from pyhmmer.plan7 import HMM

        # The stubs of pyhmmer lack its arrays.
        hmm: Any = HMM(Alphabet.rna(), len(self), self.accession)
        match = np.asarray(hmm.match_emissions)
        match[1:] = self.match_M4
        match[0] = (1.0, 0.0, 0.0, 0.0)
        np.asarray(hmm.insert_emissions)[:] = 0.25
        np.asarray(hmm.transition_probabilities)[:] = self.transition_M7
        np.asarray(hmm.evalue_parameters.as_vector())[:] = self.evalue
        hmm.set_consensus(None)
        return hmm


@dataclass(frozen=True, eq=False)
class Library:
    """Families in the order of their alignments, of one accession each."""

    name: str
    """How messages call it."""
    families: list[Family]

    def __len__(self) -> int:
        return len(self.families)

    def save(self, path: Path, card: Card | None = None) -> None:
        """Write the library, and its card where there is one to be written; each appears whole or not at all."""
        from safetensors.numpy import save_file

        families = self.families
        texts = [[f.accession, f.name, f.description, f.type, f.clan] for f in families]
        arrays: dict[str, NDArray[Any]] = {
            "length": np.array([len(f) for f in families], dtype=np.int32),
            "rows": np.array([f.rows for f in families], dtype=np.int32),
            "pair_count": np.array([len(f.pairs) for f in families], dtype=np.int32),
            "evalue": np.stack([f.evalue for f in families]).astype(np.float32),
            "match": _bytes_of(np.concatenate([f.match_M4 for f in families])),
            "transition": _bytes_of(np.concatenate([f.transition_M7 for f in families])),
            "pairs": np.concatenate([f.pairs for f in families]).astype(np.uint16),
            "pair_odds": _signed_bytes_of(np.concatenate([f.pair_odds_P44 for f in families])),
        }
        packed = [f.packed_shape or b"" for f in families]
        if any(packed):
            arrays["shape"] = np.frombuffer(b"".join(packed), dtype=np.uint8)
            arrays["shape_size"] = np.array([len(part) for part in packed], dtype=np.int32)
        metadata = {"format": FORMAT, "version": VERSION, "alphabet": _LETTERS, "families": json.dumps(texts)}
        with atomic_path(path) as written:
            written.touch()
            mode = written.stat().st_mode
            save_file(arrays, written, metadata)
            # safetensors makes it readable by its owner alone; a folder of weights may be shared.
            written.chmod(mode)
        if card is not None:
            with atomic_path(card_path(path)) as written:
                size = path.stat().st_size
                write_card(written, replace(card, weights_sha256=file_sha256(path), weights_bytes=size))

    @classmethod
    def load(cls, path: Path, name: str | None = None) -> Library:
        """Read a library; a card beside it, as the shipped one has, must fit its bytes.

        Raises:
            WeightsError: for a missing or damaged file, one of another format, version or alphabet.
        """
        from safetensors import SafetensorError, safe_open

        if path.suffix == WEIGHTS_SUFFIX and card_path(path).exists():
            verify_model_file(path)
        try:
            with safe_open(path, framework="numpy") as file:
                metadata = file.metadata() or {}
                for key, readable in _READABLE.items():
                    if (found := metadata.get(key)) not in readable:
                        what = "is no family library"
                        if key != "format":
                            what += f" that this version reads ({key} {found})"
                        raise WeightsError(f"{path}: {what}", hint="make it with this version: rnafm families build")
                arrays = {key: file.get_tensor(key) for key in file.keys()}
            families = list(_families(arrays, json.loads(metadata["families"])))
        except OSError as error:
            raise WeightsError(f"{path}: cannot be read as a family library ({error})") from error
        except (SafetensorError, KeyError, ValueError) as error:
            raise WeightsError(
                f"{path}: is no family library, or damaged ({error})", hint="make it again: rnafm families build"
            ) from error
        return cls(name or str(path), families)


def load_libraries(names: Sequence[str | Path] = (SHIPPED,), weights_dir: Path | None = None) -> list[Library]:
    """Libraries by file, by the name of one in the folders of weights, or by the word ``shipped``; each is read once.

    Raises:
        WeightsError: when there is no such library, or it cannot be used.
    """
    found = []
    for name in map(str, names):
        path: Path | None = Path(name)
        if name == SHIPPED or not Path(name).is_file():
            path = in_folders(SHIPPED_FAMILIES if name == SHIPPED else name, search_dirs(weights_dir))
        if path is None:
            hint = f"give a file that 'rnafm families build' made, or {SHIPPED} for Rfam's"
            if name == SHIPPED:
                hint = "it comes with rnafm: install it again"
            elif nearest_name(name, [SHIPPED]):
                hint = f"did you mean {SHIPPED}?"
            raise WeightsError(f"there is no family library '{name}'", hint=hint)
        found.append(_loaded(path, path.stat().st_size, path.stat().st_mtime_ns))
    return found


@lru_cache(maxsize=8)
def _loaded(path: Path, _size: int, _mtime_ns: int) -> Library:
    return Library.load(path, path.name.removesuffix(WEIGHTS_SUFFIX))


def _families(arrays: dict[str, NDArray[Any]], texts: list[list[str]]) -> Iterator[Family]:
    states, pairs = np.cumsum(arrays["length"]), np.cumsum(arrays["pair_count"])
    match, transition = _probabilities(arrays["match"]), _probabilities(arrays["transition"])
    match /= match.sum(axis=1, keepdims=True)
    for part in (slice(0, 3), slice(3, 5), slice(5, 7)):
        transition[:, part] /= np.maximum(transition[:, part].sum(axis=1, keepdims=True), 1e-30)
    odds = (arrays["pair_odds"].astype(np.float32) / _STEPS).reshape(-1, 4, 4)
    columns = (
        arrays["rows"].tolist(),
        _cut(match, states),
        _cut(transition, states + np.arange(1, len(states) + 1)),
        arrays["evalue"],
        _cut(arrays["pairs"].astype(np.int64), pairs),
        _cut(odds, pairs),
    )
    shapes: list[bytes | None] = [None] * len(texts)
    if "shape" in arrays:
        shapes = [part.tobytes() or None for part in _cut(arrays["shape"], np.cumsum(arrays["shape_size"]))]
    for text, *values in zip(texts, *columns, shapes, strict=True):
        yield Family(*text, *values)


def _cut(values: NDArray[Any], ends: NDArray[np.integer]) -> list[NDArray[Any]]:
    """The part of each family.

    Raises:
        ValueError: when the parts do not end with the values.
    """
    if not len(ends) or ends[-1] != len(values):
        raise ValueError("its arrays do not fit together")
    return np.split(values, ends[:-1])


def _bytes_of(probability: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.clip(np.rint(-_STEPS * np.log(np.maximum(probability, 1e-30))), 0, 255).astype(np.uint8)


def _probabilities(steps: NDArray[np.uint8]) -> NDArray[np.float32]:
    table = np.exp(-np.arange(256) / _STEPS).astype(np.float32)
    table[255] = 0.0
    return table[steps]


def _signed_bytes_of(log_odds: NDArray[np.float32]) -> NDArray[np.int8]:
    return np.clip(np.rint(_STEPS * log_odds), -127, 127).astype(np.int8).reshape(-1, 16)


def far_rows(alignment: Alignment, held_out: Sequence[str]) -> Alignment | None:
    """The alignment less its rows that are 8-mer-close to a held-out sequence; None when no row is left."""
    if not held_out:
        return alignment
    # SciPy takes longer to import than a library to read.
    from rnafm_cli.rna.kmers import close_to_any

    close = close_to_any([row.replace("-", "") for row in alignment.rows], held_out)
    kept = [k for k, is_close in enumerate(close) if not is_close]
    if not kept:
        return None
    return replace(alignment, names=[alignment.names[k] for k in kept], rows=[alignment.rows[k] for k in kept])


def build_library(
    alignments: Iterable[Alignment], name: str = "library", *, reject: Reject = raise_rejected
) -> Library:
    """Profiles and pair tables of alignments; a family's alignment is one, and so is Rfam's whole seed file.

    Args:
        reject: called with the error of an alignment that gives no profile, or comes a second time.

    Raises:
        InputError: when no family is left.
    """
    from pyhmmer.easel import Alphabet
    from pyhmmer.plan7 import Background, Builder

    alphabet = Alphabet.rna()
    builder, background = Builder(alphabet, seed=42), Background(alphabet)
    families: dict[str, Family] = {}
    for alignment in alignments:
        if alignment.accession in families:
            reject(InputError(f"{alignment.where}: comes a second time", hint="keep one alignment for each family"))
            continue
        try:
            families[alignment.accession] = _build(alignment, builder, background)
        except InputError as error:
            reject(error)
    if not families:
        raise InputError(f"{name}: no family is left to make a library of")
    return Library(name, list(families.values()))


def _build(alignment: Alignment, builder: Builder, background: Background) -> Family:
    from pyhmmer.easel import Alphabet, TextMSA, TextSequence

    letters = [row.translate(_UNKNOWN_TO_N) for row in alignment.rows]
    rows = [TextSequence(name=str(number), sequence=row) for number, row in enumerate(letters)]
    try:
        msa = TextMSA(name=alignment.accession, sequences=rows).digitize(Alphabet.rna())
        hmm: Any = builder.build_msa(msa, background)[0]
    except (ValueError, RuntimeError) as error:
        raise InputError(
            f"{alignment.where}: no profile can be made of it",
            hint="are there letters in its rows? --on-error skip goes on without it",
        ) from error
    state_of = {column: state for state, column in enumerate(_match_columns(hmm))}
    columns = [pair for pair in alignment.pairs.tolist() if pair[0] in state_of and pair[1] in state_of]
    tags = alignment.tags
    return Family(
        accession=alignment.accession,
        name=tags.get("ID", alignment.accession),
        description=tags.get("DE", ""),
        type=tags.get("TP", "").rstrip("; ").replace("; ", ";"),
        clan=tags.get("CL", ""),
        rows=len(alignment.rows),
        match_M4=np.array(hmm.match_emissions, dtype=np.float32)[1:],
        transition_M7=np.array(hmm.transition_probabilities, dtype=np.float32),
        evalue=np.array(hmm.evalue_parameters.as_vector(), dtype=np.float32),
        pairs=np.array([[state_of[i], state_of[j]] for i, j in columns], dtype=np.int64).reshape(-1, 2),
        pair_odds_P44=_pair_odds(letters, columns),
    )


def _match_columns(hmm: HMM) -> list[int]:
    """The alignment column (0-based) of each match state: pyhmmer has it only in HMMER's text format."""
    text = io.BytesIO()
    hmm.write(text)
    body = text.getvalue().decode().split("HMM  ", 1)[1].splitlines()[2:]
    rows = (line.split() for line in body)
    return [int(cells[5]) - 1 for cells in rows if len(cells) == 10 and cells[0].isdigit()]


def _pair_odds(rows: list[str], columns: list[list[int]]) -> NDArray[np.float32]:
    """(P, 4, 4): counts of the rows with the six canonical pairs favoured, over what the two columns tell alone."""
    codes = np.array([letter_codes(row) for row in rows])
    first, second = codes[:, [i for i, _ in columns]], codes[:, [j for _, j in columns]]
    count = np.full((len(columns), 5, 5), _ANY_COUNT)
    np.add.at(count, (np.arange(len(columns)), first, second), 1.0)
    count = count[:, 1:, 1:] + _CANONICAL_COUNT * canonical_matrix(_LETTERS)
    joint = count / count.sum(axis=(1, 2), keepdims=True)
    alone = joint.sum(axis=2, keepdims=True) * joint.sum(axis=1, keepdims=True)
    return np.log(joint / alone).astype(np.float32)
