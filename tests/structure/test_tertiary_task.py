"""Contact and distance heads side by side: they share one prior, or are asked one at a time."""

from __future__ import annotations

import dataclasses

import pytest
from support.tertiary_models import tiny_config, tiny_head

from rnafm_cli.encoder.runtime import Runtime
from rnafm_cli.errors import UsageError
from rnafm_cli.structure.tertiary import TertiaryPredictor


def test_heads_of_different_energy_parameters_do_not_share_a_prior() -> None:
    config = tiny_config()
    pair = dataclasses.replace(config.pair, parameters=("andronescu2007", "langdon2018"))
    heads = {"contact": tiny_head(), "distance": tiny_head(dataclasses.replace(config, pair=pair))}
    runtime = Runtime.create("cpu", "fp32", 1)
    TertiaryPredictor({"distance": heads["distance"]}, runtime, prior=True)
    with pytest.raises(UsageError, match="different energy parameters"):
        TertiaryPredictor(heads, runtime, prior=True)
