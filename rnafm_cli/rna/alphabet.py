"""Token alphabets of RNA-FM (nucleotides) and mRNA-FM (codons), and letter codes of pair heads.

Token order is upstream's, so that official weights fit without permutation: four specials, the
letters, four unused rows and ``<mask>`` last.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

IUPAC_LETTERS = "ACGURYKMSWBDHVN"
"""The RNA letters that a sequence may hold, in token order; ``-`` has a token but no place in input."""

_CODONS = (
    "GAG AAG GAA CUG CAG GAU AAA GUG GAC AUG GCC AAC GCU AAU AUC UUC GGA AUU GGC UUU CCA AGC "
    "GCA UCU CUC ACC CAA CCU UCC ACA UUG GUU CUU UAC ACU CCC UCA GUC GGU CAC AGU UAU AGA CAU "
    "GGG UGG UGC AGG UGU AUA CGC UUA GCG CGG CCG GUA CUA ACG UCG CGA CGU UGA UAA UAG"
).split()

_SPECIALS = ("<cls>", "<pad>", "<eos>", "<unk>")
_UNUSED = tuple(f"<null_{k}>" for k in range(1, 5))


@dataclass(frozen=True)
class Alphabet:
    """A token alphabet: ``tokens`` in index order and ``unit`` nucleotides per token."""

    name: str
    tokens: tuple[str, ...]
    unit: int
    _lookup: np.ndarray = field(init=False, repr=False, compare=False)

    cls = 0
    pad = 1
    eos = 2
    unk = 3

    def __post_init__(self) -> None:
        base = len(IUPAC_LETTERS) + 3
        table = np.full(base**self.unit, self.unk, dtype=np.uint8)
        for index, token in enumerate(self.tokens):
            if len(token) == self.unit:
                table[_word_code(_letter_codes(token), self.unit)] = index
        object.__setattr__(self, "_lookup", table)

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def mask(self) -> int:
        """Index of ``<mask>``, the last token."""
        return len(self.tokens) - 1

    @property
    def letters(self) -> slice:
        """Indices of the tokens that stand for nucleotides or codons (no specials, no unused rows)."""
        return slice(len(_SPECIALS), len(self.tokens) - len(_UNUSED) - 1)

    def encode(self, sequence: str) -> np.ndarray:
        """Token indices of a clean upper-case RNA sequence between ``<cls>`` and ``<eos>``.

        Returns:
            uint8 array of shape (T,), T = len(sequence) / unit + 2. A token that the alphabet lacks
            (a codon with N, say) becomes ``<unk>``, as upstream does.

        Raises:
            ValueError: when the length is no multiple of ``unit``.
        """
        if len(sequence) % self.unit:
            raise ValueError(f"length {len(sequence)} is not a multiple of {self.unit}")
        tokens = np.empty(len(sequence) // self.unit + 2, dtype=np.uint8)
        tokens[0], tokens[-1] = self.cls, self.eos
        if sequence:
            tokens[1:-1] = self._lookup[_word_code(_letter_codes(sequence), self.unit)]
        return tokens

    def decode(self, tokens: np.ndarray) -> str:
        """The letters of a token array, specials left out."""
        letters = range(*self.letters.indices(len(self)))
        return "".join(self.tokens[t] for t in tokens if t in letters)


def _letter_codes(text: str) -> np.ndarray:
    return _CODES[np.frombuffer(text.encode("latin-1", "replace"), dtype=np.uint8)]


def _word_code(codes: np.ndarray, unit: int) -> np.ndarray:
    base = len(IUPAC_LETTERS) + 3
    words = codes.reshape(-1, unit).astype(np.int64)
    return words @ (base ** np.arange(unit - 1, -1, -1))


def _numbers(letters: str) -> np.ndarray:
    """(256,) uint8: the letters' numbers, from 1, by their codes; 0 for all others."""
    table = np.zeros(256, dtype=np.uint8)
    table[[*letters.encode()]] = np.arange(1, len(letters) + 1)
    return table


_CODES = _numbers(IUPAC_LETTERS + "-")
_BASE_CODES = _numbers("ACGU")
NUCLEOTIDE = Alphabet("rna", (*_SPECIALS, *IUPAC_LETTERS, "-", *_UNUSED, "<mask>"), unit=1)
CODON = Alphabet("codon", (*_SPECIALS, *_CODONS, *_UNUSED, "<mask>"), unit=3)


def alphabet(name: str) -> Alphabet:
    """The alphabet called ``rna`` or ``codon``."""
    return {"rna": NUCLEOTIDE, "codon": CODON}[name]


def letter_codes(sequence: str) -> np.ndarray:
    """(L,) uint8: 1 to 4 for A, C, G, U, 0 for any other letter."""
    return _BASE_CODES[np.frombuffer(sequence.encode("latin-1", "replace"), dtype=np.uint8)]
