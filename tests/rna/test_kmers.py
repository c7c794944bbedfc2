"""8-mer closeness, clusters and groups on made-up sequences."""

from __future__ import annotations

import numpy as np
from support.closeness import are_close

from rnafm_cli.rna.kmers import KMERS, close_pairs, close_to_any, greedy_clusters, kmer_matrix, linked_groups


def random_rna(length: int, seed: int) -> str:
    return "".join(np.random.default_rng(seed).choice(list("ACGU"), length))


def half_of(sequence: str, seed: int) -> str:
    return sequence[: len(sequence) // 2] + random_rna(len(sequence) - len(sequence) // 2, seed)


def test_a_row_skips_other_letters_and_counts_each_8_mer_once() -> None:
    texts = ["ACGUACG", "A" * 50, "ACGUACGUNACGUACGU", "AAAAAAAC", "UUUUUUUU", "TTTTTTTT", ""]
    rows = kmer_matrix(texts)
    assert np.diff(rows.indptr).tolist() == [0, 1, 1, 1, 1, 1, 0]
    assert rows.indices[2:].tolist() == [1, KMERS - 1, KMERS - 1] and set(rows.data) == {1}
    assert kmer_matrix([]).shape == (0, KMERS) and kmer_matrix(["", "ACG"]).nnz == 0


def test_rule_is_more_than_a_fifth_of_the_smaller_set_plus_chance() -> None:
    a = random_rna(107, 1)
    # Sharing a run of m bases shares m - 7 of n 8-mers: the limit lies at 0.2 n + n * n / 65536.
    others = [a[:shared] + random_rna(107 - shared, 2) for shared in range(20, 40)] + [random_rna(107, 3)]
    found = close_to_any(others, [a]).tolist()
    assert found == [are_close(a, other) for other in others] and any(found) and not all(found)


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
