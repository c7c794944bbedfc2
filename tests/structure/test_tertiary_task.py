"""Contact and distance heads side by side: they share one prior, or are asked one at a time."""

from __future__ import annotations

import dataclasses

import pytest
from support.tertiary_models import tiny_config

from rnafm_cli.errors import UsageError
from rnafm_cli.structure.fold import prior_parameters


def test_heads_of_different_energy_parameters_do_not_share_a_prior() -> None:
    config = tiny_config()
    pair = dataclasses.replace(config.pair, parameters=("andronescu2007", "langdon2018"))
    assert prior_parameters([pair], wanted=True, warn=pytest.fail) == pair.parameters
    assert prior_parameters([config.pair, pair], wanted=False, warn=pytest.fail) is None
    with pytest.raises(UsageError, match="different energy parameters"):
        prior_parameters([config.pair, pair], wanted=True, warn=pytest.fail)
