"""What each input of a fold head is worth on development sets, beside thermodynamics alone.

Usage: python benchmarks/fold_inputs.py bprna_vl0.tsv.gz --families rfam142_seed_train.tsv.gz --priors runs/priors
           [-m rnafm-mini] [-m other-fold.safetensors] [--records 300] [--longest 300] [--threads 2]

Folds the same records of every set with each subset of embeddings, letters and ViennaRNA's pair probabilities (the
prior, by the energy parameters of the head), decoded with the head's own weight of pairs, and with the prior alone.
Prints Markdown: strict and relaxed macro F1 with 95 % bootstrap intervals. `--families` adds the project's held-out
families, `--records 0` takes all.
"""

from __future__ import annotations

import argparse
from itertools import combinations
from pathlib import Path

import numpy as np
import torch

from rnafm_cli.encoder.model import load_encoder
from rnafm_cli.encoder.network import Encoder
from rnafm_cli.rna.bootstrap import Interval, summarise
from rnafm_cli.rna.decode import DecodeOptions, decode
from rnafm_cli.rna.metrics import Score, score_fold
from rnafm_cli.rna.records import StructureRecord
from rnafm_cli.rna.thermo import Parameters
from rnafm_cli.structure.fold_data import load_structures, new_families
from rnafm_cli.structure.fold_task import score_head
from rnafm_cli.structure.pair import INPUTS, PairConfig, PairHead
from rnafm_cli.structure.prior_cache import PriorCache
from rnafm_cli.weights.store import encoder_path, load_component

NAMES = {"embedding": "embeddings", "sequence": "letters", "prior": "prior"}


def main() -> None:
    options = parse_options()
    torch.set_num_threads(options.threads)
    sets = {path.name.split(".")[0]: load_structures([path]) for path in options.dev}
    if options.families:
        sets["dev_newfam"] = new_families(options.families)
    sets = {name: drawn(records, options.records, options.longest) for name, records in sets.items()}

    print("| head | inputs | " + " | ".join(f"{name}, {len(records)} RNAs" for name, records in sets.items()) + " |")
    print("|---" * (2 + len(sets)) + "|", flush=True)
    known: dict[Parameters, PriorCache] = {}
    for model in options.model or ["rnafm-mini"]:
        head, encoder, decoding = load(model)
        parameters = head.config.parameters
        if parameters not in known:
            known[parameters] = filled_cache(options.priors, parameters, sets)
            alone = DecodeOptions(gamma=1.0)
            scores = [prior_scores(records, known[parameters], alone) for records in sets.values()]
            row("none", f"probabilities by {', '.join(parameters)}", scores)
        cache = known[parameters]
        for inputs in subsets(head.config.inputs):
            scores = [
                score_head(head, encoder, records, cache, inputs=frozenset(inputs), options=[decoding], bf16=False)[0]
                for records in sets.values()
            ]
            row(str(model), ", ".join(NAMES[name] for name in inputs), scores)


def filled_cache(folder: Path, parameters: Parameters, sets: dict[str, list[StructureRecord]]) -> PriorCache:
    """Pair probabilities of all records."""
    cache = PriorCache(folder / f"{'-'.join(parameters)}.h5", parameters)
    cache.add_missing(record.sequence for records in sets.values() for record in records)
    return cache


def drawn(records: list[StructureRecord], count: int, longest: int) -> list[StructureRecord]:
    """At most ``count`` records up to ``longest`` nt, the same ones that training measures on."""
    short = [record for record in records if len(record.sequence) <= longest]
    return [short[k] for k in sorted(np.random.default_rng(0).permutation(len(short))[: count or None])]


def load(model: str) -> tuple[PairHead, Encoder, DecodeOptions]:
    """A head, the encoder that it reads, and how its probabilities are decoded."""
    tensors, card = load_component(model, "fold")
    head = PairHead(PairConfig.from_dict(card.config))
    head.load_state_dict(tensors)
    encoder = load_encoder(encoder_path(model, "fold"))[0]
    return head.eval(), encoder, DecodeOptions(gamma=float(card.config.get("gamma", 1.0)))


def subsets(inputs: tuple[str, ...]) -> list[tuple[str, ...]]:
    """All that can be given, then less and less."""
    ordered = [name for name in INPUTS if name in inputs]
    return [some for size in range(len(ordered), 0, -1) for some in combinations(ordered, size)]


def prior_scores(records: list[StructureRecord], cache: PriorCache, options: DecodeOptions) -> list[Score]:
    """What the prior alone gives, decoded as a head's probabilities are."""
    pairs = [decode(cache[one.sequence], one.sequence, options) for one in records]
    return [score_fold(one.pairs, found, length=len(one)) for one, found in zip(records, pairs, strict=True)]


def row(head: str, inputs: str, scores: list[list[Score]]) -> None:
    cells = []
    for of_set in scores:
        intervals = summarise(of_set, ("f1", "relaxed_f1"))
        cells.append(f"{shown(intervals['f1'])} / {intervals['relaxed_f1'].estimate:.3f}")
    print(f"| {head} | {inputs} | {' | '.join(cells)} |", flush=True)


def shown(interval: Interval) -> str:
    return f"{interval.estimate:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dev", nargs="*", type=Path, help="development files")
    parser.add_argument("--families", type=Path, help="file whose held-out families are one more set")
    parser.add_argument("--priors", type=Path, required=True, help="folder for pair probabilities")
    parser.add_argument("-m", "--model", action="append", help="name or file of a fold head; repeatable")
    parser.add_argument("--records", type=int, default=300)
    parser.add_argument("--longest", type=int, default=300)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
