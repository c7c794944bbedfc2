"""The registry of named models."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rnafm_cli.encoder.config import ENCODER_PRESETS
from rnafm_cli.weights.registry import ENCODER, MODELS, nearest_name


@pytest.mark.parametrize("name", MODELS)
def test_every_entry_is_complete(name: str) -> None:
    spec = MODELS[name]
    assert spec.preset in ENCODER_PRESETS
    assert ENCODER in spec.components
    for component, stem in spec.components.items():
        shared = any(other.components[ENCODER] == stem for own, other in MODELS.items() if own != name)
        assert stem in (name, f"{name}-{component}") or (component == ENCODER and shared)
    assert spec.licence
    if spec.download is not None:
        assert spec.download.urls
        assert all(url.startswith("https://") for url in spec.download.urls)
        assert spec.download.sha256 is None or re.fullmatch("[0-9a-f]{64}", spec.download.sha256)
        assert Path(spec.download.file_name).suffix == ".pth"


@pytest.mark.parametrize(
    ("typed", "meant"), [("rnafm-mimi", "rnafm-mini"), ("rnafm", "rna-fm"), ("mrnafm", "mrna-fm"), ("zzz", None)]
)
def test_nearest_name(typed: str, meant: str | None) -> None:
    assert nearest_name(typed, MODELS) == meant
