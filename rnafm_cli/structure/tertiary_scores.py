"""How well contact and distance heads do on chains they have not seen, and how well guesses do that cost nothing.

Shape suffixes: B batch, L residues, K bins of distance.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from rnafm_cli.encoder.batches import buckets
from rnafm_cli.encoder.runtime import mixed_precision
from rnafm_cli.rna.chains import Chain
from rnafm_cli.rna.metrics import CONTACT_METRICS, DISTANCE_METRICS, MapScore, score_contacts, score_distances
from rnafm_cli.structure.baselines import DistanceTable, spread_probabilities
from rnafm_cli.structure.batches import Example, SoftMaps
from rnafm_cli.structure.pair import pair_inputs
from rnafm_cli.structure.tertiary_head import TertiaryHead, TertiaryLogits

__all__ = ["PredictedMaps", "baseline_maps", "mean_values", "predict_chains", "score_maps", "soft_maps"]


_CELLS_AT_ONCE = 200_000


@dataclass(frozen=True)
class PredictedMaps:
    """What is predicted of one chain: contact probabilities, distances and their deviation (Å), all (L, L)."""

    chain: Chain
    contact_LL: np.ndarray
    distance_LL: np.ndarray
    sd_LL: np.ndarray | None = None
    regression_LL: np.ndarray | None = None
    """Distances by the other readout."""


@torch.inference_mode()
def predict_chains(
    head: TertiaryHead, examples: Sequence[Example], *, shown: frozenset[str], bf16: bool = True
) -> list[PredictedMaps]:
    """Maps of whole chains, in the order of the examples."""
    found: dict[int, PredictedMaps] = {}
    for group in buckets([len(one.chain) ** 2 for one in examples], _CELLS_AT_ONCE):
        part = [examples[k] for k in group]
        logits = _run(head, part, shown, bf16)
        contact = logits.contacts().numpy()
        distance, sd = (values.numpy() for values in logits.distances())
        regression = logits.distances("regression")[0].numpy()
        for row, (k, one) in enumerate(zip(group, part, strict=True)):
            square = (row, slice(len(one.chain)), slice(len(one.chain)))
            maps = [values[square].copy() for values in (contact, distance, sd, regression)]
            found[k] = PredictedMaps(one.chain, *maps)
    return [found[k] for k in range(len(examples))]


@torch.inference_mode()
def soft_maps(heads: Sequence[TertiaryHead], example: Example, *, shown: frozenset[str], bf16: bool = True) -> SoftMaps:
    """The mean of what several heads say of a chain."""
    every = [_run(head, [example], shown, bf16) for head in heads]
    contact_LL = torch.stack([logits.contacts()[0] for logits in every]).mean(dim=0)
    shares = [logits.bins_BLLK[0].softmax(dim=-1) for logits in every if logits.bins_BLLK is not None]
    return SoftMaps(contact_LL.half().clone(), torch.stack(shares).mean(dim=0).half().clone())


def baseline_maps(train: Iterable[Example], held_out: Sequence[Example]) -> list[PredictedMaps]:
    """The free guess: spread pair probabilities, and the mean distance by separation and probability nearby.

    Args:
        train: chains that the table of distances comes from.
        held_out: chains to guess; like the others they need their pair probabilities.
    """
    table = DistanceTable((one.chain, one.prior_LL) for one in train if one.prior_LL is not None)
    return [
        PredictedMaps(one.chain, spread_probabilities(one.prior_LL), table.predict(one.prior_LL))
        for one in held_out
        if one.prior_LL is not None
    ]


def score_maps(maps: Iterable[PredictedMaps]) -> list[MapScore]:
    """Scores of contacts and distances of each chain together; ``regression_mse`` ... for the other readout.

    Contacts are scored for chains with distances too, as ``contact``; a chain that has neither score is left out.
    """
    scores = []
    for one in maps:
        contact, distance = score_contacts(one.chain, one.contact_LL), score_distances(one.chain, one.distance_LL)
        values = {**(contact.values if contact else {}), **(distance.values if distance else {})}
        if one.regression_LL is not None and (other := score_distances(one.chain, one.regression_LL)) is not None:
            values |= {f"regression_{name}": value for name, value in other.values.items()}
        if values:
            pairs = max((s.pairs for s in (contact, distance) if s), default=0)
            positives, ceiling = (contact.positives, contact.ceiling) if contact else (0, {})
            scores.append(MapScore(one.chain.id, len(one.chain), values, pairs, positives, ceiling))
    return scores


def mean_values(scores: Iterable[MapScore]) -> dict[str, float]:
    """Mean over the chains that have a value, by metric; ``chains`` and ``chains_with_distances`` count them."""
    scores = list(scores)
    names = (*CONTACT_METRICS, *DISTANCE_METRICS, *(f"regression_{name}" for name in DISTANCE_METRICS))
    means: dict[str, float] = {}
    for name in names:
        values = [score.values[name] for score in scores if name in score.values]
        if values:
            means[name] = float(np.nanmean(values))
    means["chains"] = float(sum(CONTACT_METRICS[0] in score.values for score in scores))
    means["chains_with_distances"] = float(sum("mse" in score.values for score in scores))
    return means


def _run(head: TertiaryHead, part: Sequence[Example], shown: frozenset[str], bf16: bool) -> TertiaryLogits:
    embeddings = [one.embedding_LD for one in part if one.embedding_LD is not None] if "embedding" in shown else []
    priors = [one.prior_LL for one in part if one.prior_LL is not None] if "prior" in shown else []
    inputs = pair_inputs(
        [one.chain.sequence for one in part],
        embeddings=[rows_LD.float() for rows_LD in embeddings] or None,
        priors=priors or None,
        width=head.config.pair.embedding,
        use_sequence="sequence" in shown,
    )
    with mixed_precision("cpu", bf16=bf16):
        return head(inputs)
