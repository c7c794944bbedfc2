"""`rnafm rbp` and `rnafm mrl` against `rnafm embed` on the same sequences: what the heads cost beside the encoder.

Usage: python benchmarks/function.py [--model rnafm-mini] [--records 400] [--rounds 3] [--threads 1] [--clock wall|cpu]

The model's own heads, which may read letters alone, and random heads of the same size that read embeddings.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from rnafm_cli.function.binding import BindingConfig, BindingHead
from rnafm_cli.function.mrl import LoadPredictor, ribosome_load
from rnafm_cli.function.rbp import BindingPredictor, bind
from rnafm_cli.function.ribosome_load import LoadConfig, LoadHead
from rnafm_cli.model import Model, load_model
from rnafm_cli.rna.records import SequenceRecord
from rnafm_cli.weights.files import Card, save_model_file

LENGTH = 101


def main() -> None:
    options = parse_options()
    torch.set_num_threads(options.threads)
    rng = np.random.default_rng(0)
    records = [SequenceRecord(f"r{k}", "".join(rng.choice(list("ACGU"), LENGTH))) for k in range(options.records)]
    utrs = [dataclasses.replace(record, sequence=record.sequence[:100]) for record in records]
    model = load_model(options.model, device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        heads = random_heads(model, Path(folder))
        binding, loads = (load_model(str(path), weights_dir=Path(folder), device="cpu") for path in heads)
        for other in (binding, loads):
            # The same encoder, loaded once.
            other.__dict__["_loaded_encoder"] = (model.encoder, model.encoder_card)
        bound, loaded = BindingPredictor(binding), LoadPredictor(loads)
        own_bound, own_loaded = BindingPredictor(model), LoadPredictor(model)
        ways: dict[str, Callable[[], int]] = {
            "embed": lambda: sum(len(rows) for _, rows in model.embed(records)),
            "rbp": lambda: len(list(bind(records, own_bound, model))),
            "mrl": lambda: len(list(ribosome_load(utrs, own_loaded, model))),
            "rbp, embeddings": lambda: len(list(bind(records, bound, binding))),
            "mrl, embeddings": lambda: len(list(ribosome_load(utrs, loaded, loads))),
        }
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        clock = time.process_time if options.clock == "cpu" else time.perf_counter
        for number in range(options.rounds + 1):
            for name, way in ways.items():
                started = clock()
                way()
                if number:
                    seconds[name].append(clock() - started)
    base = statistics.median(seconds["embed"])
    print(f"{len(records)} sequences of {LENGTH} nt, {options.threads} thread(s), {options.clock} time")
    for name, taken in seconds.items():
        median = statistics.median(taken)
        rate = len(records) / median
        print(f"{name:16} {rate:8.0f} sequences/s  {rate * LENGTH:10.0f} nt/s  {median / base:5.2f} x embed")


def random_heads(model: Model, folder: Path) -> tuple[Path, Path]:
    """An RBP head for 24 proteins and an MRL head of five members on the model's encoder."""
    torch.manual_seed(0)
    width, sha256 = model.encoder.config.width, model.encoder_card.weights_sha256
    binding = BindingHead(BindingConfig(proteins=tuple(f"S_{k}_X" for k in range(24)), embedding=width, structure=True))
    loads = LoadHead(
        LoadConfig(assays=("a", "b", "c", "d"), means=(5.0,) * 4, deviations=(1.0,) * 4, embedding=width, members=5)
    )
    paths = []
    for head, kind in ((binding, "rbp"), (loads, "mrl")):
        path = folder / f"random-{kind}.safetensors"
        card = Card(name=path.stem, kind=kind, config=dataclasses.asdict(head.config), encoder_sha256=sha256)
        save_model_file(path, head.state_dict(), card)
        paths.append(path)
    return paths[0], paths[1]


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="rnafm-mini")
    parser.add_argument("--records", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    return parser.parse_args()


if __name__ == "__main__":
    main()
