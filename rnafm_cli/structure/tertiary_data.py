"""Chains for training heads for contacts and distances, with all that the networks see of them computed once.

Shape suffixes: L residues, D embedding width.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from rnafm_cli.encoder.embed import embed_batch
from rnafm_cli.encoder.network import Encoder
from rnafm_cli.encoder.workers import buckets
from rnafm_cli.errors import InputError
from rnafm_cli.families.known_chains import placed_chains
from rnafm_cli.families.library import Library
from rnafm_cli.families.search import Search
from rnafm_cli.io.maps import read_chains
from rnafm_cli.rna.chains import Chain, without_repeats
from rnafm_cli.structure.batches import Example, sampling_weights
from rnafm_cli.structure.chain_folds import folds_of, linked_chains
from rnafm_cli.structure.pair import Guide
from rnafm_cli.structure.prior_cache import PriorCache
from rnafm_cli.structure.training_templates import chain_templates
from rnafm_cli.training.recipes import ChainSampling, TertiaryRecipe
from rnafm_cli.training.trainer import Progress, Report, rows_sha256

_TOKENS_AT_ONCE = 4096


def chains_sha256(chains: Sequence[Chain]) -> str:
    """SHA-256 (hex) of chains in their order: ids, sequences, and the distances or contacts that are known."""
    known = (chain.contacts() if chain.distance_LL is None else chain.distance_LL for chain in chains)
    return rows_sha256((f"{chain.id} {chain.sequence}" for chain in chains), *known)


@dataclass(frozen=True)
class ChainSet:
    """Chains with their inputs, in folds.

    Args:
        folds: (n,) fold of each.
        groups: (n,) group of like chains of each.
    """

    examples: tuple[Example, ...]
    folds: np.ndarray
    groups: np.ndarray

    def outside(self, fold: int | None) -> list[Example]:
        """The chains that are trained on when a fold is held out; all for None."""
        return [one for one, its in zip(self.examples, self.folds, strict=True) if its != fold]

    def inside(self, fold: int | None) -> list[Example]:
        """The chains of a fold; none for None."""
        return [one for one, its in zip(self.examples, self.folds, strict=True) if its == fold]

    def weights(self, fold: int | None, sampling: ChainSampling) -> np.ndarray:
        """Probability with which each chain outside a fold is drawn."""
        lengths = np.asarray([min(len(one.chain), sampling.crop) for one in self.outside(fold)])
        outside = [group for group, its in zip(self.groups, self.folds, strict=True) if its != fold]
        return sampling_weights(lengths, np.unique(outside, return_inverse=True)[1], sampling)


def load_chains(
    files: Sequence[Path], recipe: TertiaryRecipe, *, reject: Callable[[InputError], None], report: Report
) -> tuple[list[Chain], dict[str, int]]:
    """Chains of HDF5 files, structure files or folders of them, and how many were read and dropped, by reason.

    Raises:
        InputError: when nothing is left.
    """
    read: list[Chain] = []
    for path in files:
        try:
            read += read_chains(path, reject=reject)
        except InputError as error:
            reject(error)
    section, counts = recipe.data, Counter(read=len(read))
    fitting = [chain for chain in read if section.min_length <= len(chain) <= section.max_length]
    counts["too short or long"] = len(read) - len(fitting)
    chains = without_repeats(fitting)
    counts["similar to a chain with distances"] = len(fitting) - len(chains)
    known = [chain for chain in chains if (chain.contacts()[np.triu_indices(len(chain), k=1)] >= 0).any()]
    counts["nothing known"] = len(chains) - len(known)
    if not known:
        raise InputError(
            "no chain is left to train on",
            hint=f"{section.min_length} to {section.max_length} residues are used (data.min_length, data.max_length)",
        )
    counts["chains"], counts["with distances"] = len(known), sum(c.distance_LL is not None for c in known)
    report("chains: " + ", ".join(f"{name} {count}" for name, count in counts.items()))
    return known, dict(counts)


def prepare_examples(
    chains: Sequence[Chain],
    recipe: TertiaryRecipe,
    *,
    encoder: Encoder | None,
    cache: PriorCache | None,
    libraries: Sequence[Library] = (),
    progress: Progress = lambda what, done, total: None,
) -> ChainSet:
    """Run the encoder and ViennaRNA over all chains and look for their families, once.

    Args:
        encoder: None for heads without embeddings.
        cache: pair probabilities, to be completed; None for heads without them.
        libraries: families to look for.
    """
    search = Search(libraries)
    placed = placed_chains(chains, search)
    # The surest family comes first.
    families = {chains[one.number].id: one.family.accession for one in reversed(placed)}
    folds, groups = folds_of(chains, folds=recipe.data.folds, seed=recipe.data.seed, families=families)
    guides = [Guide(chain.sequence) for chain in chains]
    if encoder is not None:
        for group in buckets([len(chain) + 2 for chain in chains], _TOKENS_AT_ONCE):
            with torch.no_grad():
                found = embed_batch(encoder, [chains[k].sequence for k in group], bf16=False)
            for k, rows_LD in zip(group, found, strict=True):
                guides[k] = replace(guides[k], rows_LD=rows_LD.clone())  # A view would keep the whole batch in memory.
    if cache is not None:
        cache.add_missing((chain.sequence for chain in chains), report=partial(progress, "pair probabilities"))
        guides = [replace(guide, prior_LL=cache[guide.sequence]) for guide in guides]
    known = chain_templates(chains, placed, search, folds=folds, clusters=linked_chains(chains, {}))
    guides = [replace(guide, template=template) for guide, template in zip(guides, known, strict=True)]
    return ChainSet(tuple(map(Example, chains, guides)), folds, groups)
