"""A prepared corpus and a configuration small enough for runs of a second or two."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from corpora import family_fasta

from rnafm_cli.pretrain.config import PretrainConfig
from rnafm_cli.pretrain.holdout import HoldoutRules
from rnafm_cli.pretrain.prepare import prepare_corpus
from rnafm_cli.training.recipes import recipe_from_dict, with_overrides

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def corpus_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    fasta = family_fasta(folder / "in.fa")
    rules = HoldoutRules(sequences=12, groups=2, group_size=(5, 50), max_outside=50)
    prepare_corpus([fasta], folder / "corpus", rules, shard_tokens=15_000)
    return folder / "corpus"


@pytest.fixture
def tiny(corpus_folder: Path) -> Callable[..., PretrainConfig]:
    """``tiny("optim.steps=4", ...)``: a configuration on the made-up corpus."""

    def build(*overrides: str) -> PretrainConfig:
        values = {
            "model": {"preset": "rnafm-tiny"},
            "data": {"corpus": str(corpus_folder), "crop": 64},
            "batch": {"tokens": 512, "micro_batches": 2},
            "optim": {"rate": 3e-3, "warmup": 2, "steps": 8},
            "validation": {"every": 4, "sequences": 10},
            "checkpoint": {"every_minutes": 0.0},
            "log": {"every": 2},
            "run": {"device": "cpu", "threads": 1},
        }
        return recipe_from_dict(PretrainConfig, with_overrides(values, list(overrides)))

    return build
