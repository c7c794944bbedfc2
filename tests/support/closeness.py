"""The rule of 8-mer closeness, written down a second time and as slowly as it is said."""

from __future__ import annotations


def kmer_set(sequence: str) -> set[str]:
    """Distinct 8-mers of A, C, G, U."""
    words = (sequence[k : k + 8] for k in range(len(sequence) - 7))
    return {word for word in words if set(word) <= set("ACGU")}


def are_close(first: str, second: str) -> bool:
    """Whether two sequences share more 8-mers than a fifth of the smaller set and what chance gives."""
    a, b = kmer_set(first), kmer_set(second)
    return len(a & b) > 0.2 * min(len(a), len(b)) + len(a) * len(b) / 65536
