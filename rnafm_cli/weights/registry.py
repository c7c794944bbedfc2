"""The models that have a name: what each consists of and where its files can be had."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

ENCODER = "encoder"
"""The component that every model has; the others are heads, named after their task."""

SHIPPED_FAMILIES = "rfam-14.2"
"""Stem of the family library that comes with the program."""

_CUHK = "https://proj.cse.cuhk.edu.hk/rnafm/api/download?filename="
_HUB = "https://huggingface.co/cuhkaih/rnafm/resolve/main/"


@dataclass(frozen=True, kw_only=True)
class Download:
    """A public file and the places that offer it, tried in order."""

    file_name: str
    urls: tuple[str, ...]
    size: int | None = None
    """Bytes, where published."""
    sha256: str | None = None
    """Hex digest, where published."""


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A named model."""

    preset: str
    """Shape of its encoder, a key of ``ENCODER_PRESETS``."""
    components: Mapping[str, str]
    """Component -> stem of the model file that holds it; two components may lie in one file."""
    licence: str
    download: Download | None = None
    """What ``rnafm weights pull`` fetches and converts; None if the model ships with the program."""


MODELS: dict[str, ModelSpec] = {
    "rnafm-mini": ModelSpec(
        preset="rnafm-mini",
        components={
            ENCODER: "rnafm-mini",
            "fold": "rnafm-mini-fold",
            "contact": "rnafm-mini-contact",
            "rbp": "rnafm-mini-rbp",
            "mrl": "rnafm-mini-mrl",
        },
        licence="MIT",
    ),
    "rnafm-mini-pdb": ModelSpec(
        preset="rnafm-mini",
        components={ENCODER: "rnafm-mini", "fold": "rnafm-mini-pdb-fold"},
        licence="MIT",
    ),
    "rna-fm": ModelSpec(
        preset="rna-fm",
        components={ENCODER: "rna-fm"},
        licence="Apache-2.0",
        download=Download(
            file_name="RNA-FM_pretrained.pth",
            urls=(_HUB + "RNA-FM_pretrained.pth", _CUHK + "RNA-FM_pretrained.pth"),
            size=1_194_424_423,
        ),
    ),
    "mrna-fm": ModelSpec(
        preset="mrna-fm",
        components={ENCODER: "mrna-fm"},
        licence="MIT",
        download=Download(
            file_name="mRNA-FM_pretrained.pth",
            urls=(_CUHK + "file_mRNA-FM_pretrained.pth", _CUHK + "file_CDS-FM_pretrained.pth"),
        ),
    ),
    "rna-fm-ss-bprna": ModelSpec(
        preset="rna-fm",
        components={ENCODER: "rna-fm-ss-bprna", "fold": "rna-fm-ss-bprna"},
        licence="Apache-2.0",
        download=Download(
            file_name="RNA-FM-ResNet_bpRNA.pth",
            urls=(_HUB + "SS/RNA-FM-ResNet_bpRNA.pth", _CUHK + "RNA-FM-ResNet_bpRNA.pth"),
            sha256="4ba2cde6b6ad75fb1c742cd5a7f40d4d0d4bcd63a329ff98347776e7f84630e6",
        ),
    ),
    "rna-fm-ss-pdb": ModelSpec(
        preset="rna-fm",
        components={ENCODER: "rna-fm-ss-pdb", "fold": "rna-fm-ss-pdb"},
        licence="Apache-2.0",
        download=Download(
            file_name="RNA-FM-ResNet_PDB-All.pth",
            urls=(_HUB + "SS/RNA-FM-ResNet_PDB-All.pth", _CUHK + "RNA-FM-ResNet_PDB-All.pth"),
            sha256="bc9df2111ae6ba95b373641ed1ab35ef4fa8b4cd0f8d21065a55450f575fe15d",
        ),
    ),
}


def published_name(file_name: str) -> str | None:
    """The registered model that a published file holds, by the file's name."""
    published = {spec.download.file_name: name for name, spec in MODELS.items() if spec.download is not None}
    return published.get(file_name)


def nearest_name(name: str, names: Iterable[str]) -> str | None:
    """The known name that was probably meant."""
    close = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
    return close[0] if close else None
