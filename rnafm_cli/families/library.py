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
from rnafm_cli.families.shapes import Shape
from rnafm_cli.io.stockholm import Alignment
from rnafm_cli.io.streams import atomic_path
from rnafm_cli.rna.pairs import Pairs, no_pairs, to_dot_bracket
from rnafm_cli.weights.cards import WEIGHTS_SUFFIX, Card, card_path, file_sha256, verify_model_file, write_card
from rnafm_cli.weights.registry import SHIPPED_FAMILIES, nearest_name
from rnafm_cli.weights.store import in_folders, search_dirs

if TYPE_CHECKING:
    from pyhmmer.plan7 import HMM, Background, Builder

FORMAT = "rnafm-families"
VERSION = "2"
_READABLE = ("1", VERSION)
"""Of version 1 are libraries without shapes."""
SHIPPED = "shipped"
"""What names the library that comes with the program."""
_LETTERS = "ACGU"
_STEPS = 20.0
"""Bytes to one natural logarithm."""
_CANONICAL = ((0, 3), (3, 0), (1, 2), (2, 1), (2, 3), (3, 2))
_CANONICAL_COUNT, _ANY_COUNT = 0.3, 0.02
_CODES = np.full(128, 4, dtype=np.int64)
for _code, _letter in enumerate(_LETTERS):
    _CODES[ord(_letter)] = _code
_UNKNOWN_TO_N = {code: "N" for code in range(ord("A"), ord("Z") + 1) if chr(code) not in "ACGURYKMSWBDHVN"}


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
    def shape(self) -> Shape | None:
        """What its known 3D structures have in common; None where there are none."""
        return None if self.packed_shape is None else Shape.unpacked(self.packed_shape)

    @property
    def known_chains(self) -> int:
        """Chains with known 3D structure behind its shape, near copies counted once."""
        return 0 if self.shape is None else round(float(self.shape.seen_KK.max()))

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
    """Families in the order of their alignments; profiles are made when they are first asked for.

    Args:
        name: how messages call it.
        families: of one accession each.
    """

    name: str
    families: list[Family]

    def __len__(self) -> int:
        return len(self.families)

    @cached_property
    def by_accession(self) -> dict[str, Family]:
        """Families by accession."""
        return {family.accession: family for family in self.families}

    def save(self, path: Path, card: Card | None = None) -> None:
        """Write the library, and its card where there is one to be written; each appears whole or not at all."""
        from safetensors.numpy import save_file

        families = self.families
        texts = [[f.accession, f.name, f.description, f.type, f.clan] for f in families]
        arrays = {
            "length": np.array([len(f) for f in families], dtype=np.int32),
            "rows": np.array([f.rows for f in families], dtype=np.int32),
            "pair_count": np.array([len(f.pairs) for f in families], dtype=np.int32),
            "evalue": np.stack([f.evalue for f in families]).astype(np.float32),
            "match": np.concatenate([_bytes_of(f.match_M4) for f in families]),
            "transition": np.concatenate([_bytes_of(f.transition_M7) for f in families]),
            "pairs": np.concatenate([f.pairs for f in families]).astype(np.uint16),
            "pair_odds": np.concatenate([_signed_bytes_of(f.pair_odds_P44) for f in families]),
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
                _check_format(path, metadata)
                arrays = {key: file.get_tensor(key) for key in file.keys()}
            families = list(_families(arrays, json.loads(metadata["families"])))
        except OSError as error:
            raise WeightsError(f"{path}: cannot be read as a family library ({error})") from error
        except (SafetensorError, KeyError, ValueError, IndexError) as error:
            raise WeightsError(
                f"{path}: is no family library, or damaged ({error})", hint="make it again: rnafm families build"
            ) from error
        return cls(name or str(path), families)


def shipped(weights_dir: Path | None = None) -> Library:
    """The library that comes with the program, or the one of its name in a folder of weights."""
    return load_libraries((SHIPPED,), weights_dir)[0]


def load_libraries(names: Sequence[str | Path] = (SHIPPED,), weights_dir: Path | None = None) -> list[Library]:
    """Libraries by file, by the name of one in the folders of weights, or by the word ``shipped``; each is read once.

    Raises:
        WeightsError: when there is no such library, or it cannot be used.
    """
    paths = [_library_path(name, weights_dir) for name in names]
    return [_loaded(path, path.stat().st_size, path.stat().st_mtime_ns) for path in paths]


def _library_path(name: str | Path, weights_dir: Path | None) -> Path:
    if str(name) != SHIPPED and Path(name).is_file():
        return Path(name)
    path = in_folders(SHIPPED_FAMILIES if str(name) == SHIPPED else str(name), search_dirs(weights_dir))
    if path is None:
        hint = "it comes with rnafm: install it again" if str(name) == SHIPPED else _library_hint(str(name))
        raise WeightsError(f"there is no family library '{name}'", hint=hint)
    return path


def _library_hint(name: str) -> str:
    if nearest_name(name, [SHIPPED]):
        return f"did you mean {SHIPPED}?"
    return f"give a file that 'rnafm families build' made, or {SHIPPED} for Rfam's"


@lru_cache(maxsize=8)
def _loaded(path: Path, _size: int, _mtime_ns: int) -> Library:
    return Library.load(path, path.name.removesuffix(WEIGHTS_SUFFIX))


def _check_format(path: Path, metadata: dict[str, str]) -> None:
    if metadata.get("format") != FORMAT:
        raise WeightsError(f"{path}: is no family library", hint="make one: rnafm families build SEEDS.sto -o LIB")
    for key, readable in (("version", _READABLE), ("alphabet", (_LETTERS,))):
        if metadata.get(key) not in readable:
            raise WeightsError(
                f"{path}: has {key} {metadata.get(key)}, this program reads {readable[-1]}",
                hint="make it again with this version: rnafm families build",
            )


def _families(arrays: dict[str, NDArray[Any]], texts: list[list[str]]) -> Iterator[Family]:
    lengths, counts = arrays["length"].astype(np.int64), arrays["pair_count"].astype(np.int64)
    match, transition = _probabilities(arrays["match"]), _probabilities(arrays["transition"])
    match /= match.sum(axis=1, keepdims=True)
    for part in (slice(0, 3), slice(3, 5), slice(5, 7)):
        transition[:, part] /= np.maximum(transition[:, part].sum(axis=1, keepdims=True), 1e-30)
    odds = (arrays["pair_odds"].astype(np.float32) / _STEPS).reshape(-1, 4, 4)
    pairs = arrays["pairs"].astype(np.int64)
    if not len(texts) == len(lengths) == len(counts) or lengths.sum() != len(match) or counts.sum() != len(pairs):
        raise ValueError("its arrays do not fit together")
    shapes = _shapes(arrays, len(lengths))
    state, pair = 0, 0
    for number, (text, length, count) in enumerate(zip(texts, lengths.tolist(), counts.tolist(), strict=True)):
        node = state + number
        accession, name, description, kind, clan = text
        yield Family(
            accession=accession,
            name=name,
            description=description,
            type=kind,
            clan=clan,
            rows=int(arrays["rows"][number]),
            match_M4=match[state : state + length],
            transition_M7=transition[node : node + length + 1],
            evalue=arrays["evalue"][number],
            pairs=pairs[pair : pair + count],
            pair_odds_P44=odds[pair : pair + count],
            packed_shape=shapes[number],
        )
        state, pair = state + length, pair + count


def _shapes(arrays: dict[str, NDArray[Any]], families: int) -> list[bytes | None]:
    """The packed shape of each family."""
    if "shape" not in arrays:
        return [None] * families
    packed, ends = arrays["shape"].tobytes(), np.cumsum(arrays["shape_size"])
    if len(ends) != families or ends[-1] != len(packed):
        raise ValueError("its shapes do not fit its families")
    return [packed[end - size : end] or None for end, size in zip(ends, arrays["shape_size"], strict=True)]


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
        pairs=np.array([[state_of[i], state_of[j]] for i, j in columns], dtype=np.int64) if columns else no_pairs(),
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
    if not columns:
        return np.zeros((0, 4, 4), dtype=np.float32)
    codes = np.array([_CODES[np.frombuffer(row.encode("ascii"), dtype=np.uint8)] for row in rows])
    first, second = codes[:, [i for i, _ in columns]], codes[:, [j for _, j in columns]]
    count = np.full((len(columns), 5, 5), _ANY_COUNT)
    np.add.at(count, (np.arange(len(columns)), first, second), 1.0)
    count = count[:, :4, :4]
    for a, b in _CANONICAL:
        count[:, a, b] += _CANONICAL_COUNT
    joint = count / count.sum(axis=(1, 2), keepdims=True)
    alone = joint.sum(axis=2, keepdims=True) * joint.sum(axis=1, keepdims=True)
    return np.log(joint / alone).astype(np.float32)
