"""8-mer closeness, clusters and groups on made-up sequences."""

from __future__ import annotations

import numpy as np

from rnafm_cli.rna.kmers import (
    KMERS,
    are_close,
    close_pairs,
    close_to_any,
    greedy_clusters,
    kmer_matrix,
    kmer_set,
    linked_groups,
)


def random_rna(length: int, seed: int) -> str:
    return "".join(np.random.default_rng(seed).choice(list("ACGU"), length))


def half_of(sequence: str, seed: int) -> str:
    return sequence[: len(sequence) // 2] + random_rna(len(sequence) - len(sequence) // 2, seed)


def test_kmer_set_skips_other_letters_and_counts_each_once() -> None:
    assert len(kmer_set("ACGUACG")) == 0
    assert len(kmer_set("A" * 50)) == 1
    assert len(kmer_set("ACGUACGUNACGUACGU")) == 1
    assert kmer_set("AAAAAAAC").tolist() == [1]
    assert kmer_set("UUUUUUUU").tolist() == [KMERS - 1]
    assert kmer_set("TTTTTTTT").tolist() == [KMERS - 1]


def test_rule_is_more_than_a_fifth_of_the_smaller_set_plus_chance() -> None:
    a = random_rna(107, 1)
    n = len(kmer_set(a))
    # Sharing a run of m bases shares m - 7 of n 8-mers: the limit lies at 0.2 n + n * n / 65536.
    for shared in range(20, 40):
        b = a[:shared] + random_rna(107 - shared, 2)
        common = len(np.intersect1d(kmer_set(a), kmer_set(b)))
        assert are_close(a, b) == (common > 0.2 * min(n, len(kmer_set(b))) + n * len(kmer_set(b)) / KMERS)
    assert not are_close(a, random_rna(107, 3))
    assert are_close(a, a)


def test_inverted_index_agrees_with_the_pairwise_rule() -> None:
    sequences = [random_rna(80, k) for k in range(12)]
    sequences += [half_of(sequences[0], 20), half_of(sequences[3], 21), sequences[5][10:60]]
    matrix = kmer_matrix(sequences)
    found = {
        (int(a), int(b)) for rows, columns in close_pairs(matrix, matrix) for a, b in zip(rows, columns, strict=True)
    }
    expected = {
        (a, b) for a in range(len(sequences)) for b in range(len(sequences)) if are_close(sequences[a], sequences[b])
    }
    assert found == expected
    assert (0, 12) in found and (14, 5) in found


def test_close_to_any_also_finds_repeated_short_sequences() -> None:
    a = random_rna(60, 1)
    assert close_to_any(["ACGU", "AAGU", half_of(a, 2), random_rna(60, 3)], ["ACGU", a]).tolist() == [
        True,
        False,
        True,
        False,
    ]


def test_clusters_are_led_by_the_longest_and_labels_link_through_sequences() -> None:
    a, b = random_rna(100, 1), random_rna(90, 2)
    near_a = a[:70]
    clusters = greedy_clusters([b, near_a, a, "ACG", half_of(b, 4)])
    assert clusters[1] == clusters[2]
    assert clusters[0] == clusters[4]
    assert len(set(clusters.tolist())) == 3
    groups = linked_groups([a, b, near_a, random_rna(80, 9)], ["x", "x", "y", "z"])
    assert groups["x"] == groups["y"] != groups["z"]
