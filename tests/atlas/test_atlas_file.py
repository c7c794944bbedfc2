from __future__ import annotations

import dataclasses
from pathlib import Path

import h5py
import numpy as np
import pytest

from rnafm_cli.atlas.placement import AtlasFile, find_atlas, write_atlas_file
from rnafm_cli.atlas.results import write_rows
from rnafm_cli.errors import InputError


def atlas(count: int = 100) -> AtlasFile:
    rng = np.random.default_rng(0)
    return AtlasFile(
        ids=[f"é{k}" for k in range(count)],
        labels=["tRNA", ""] * (count // 2),
        starts=[""] * count,
        lengths_N=np.arange(count),
        place_N2=rng.normal(size=(count, 2)).astype(np.float32),
        reduced_NK=rng.normal(size=(count, 5)).astype(np.float16).astype(np.float32),
        mean_D=np.zeros(8, dtype=np.float32),
        axes_KD=np.eye(5, 8, dtype=np.float32),
        share_P=np.asarray([0.2, 0.9]),
        accuracy_P=np.asarray([0.1, 0.8]),
        settings={"model": "m", "layer": 2, "method": "umap", "a": 1.5, "b": 0.9, "weights_sha256": None},
    )


def test_an_atlas_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "atlas.h5"
    write_atlas_file(path, atlas())
    found, made = find_atlas(str(path)), atlas()
    for field in dataclasses.fields(AtlasFile):
        ours, theirs = getattr(made, field.name), getattr(found, field.name)
        if field.name == "settings":
            assert theirs["model"] == "m" and theirs["a"] == 1.5 and "weights_sha256" not in theirs
        elif isinstance(ours, list):
            assert theirs == ours
        else:
            assert np.array_equal(theirs, ours), field.name
    again = tmp_path / "again.h5"
    write_atlas_file(again, atlas())
    assert again.read_bytes() == path.read_bytes()


def test_what_is_no_atlas_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["x"] = [1]
    text = tmp_path / "text.h5"
    text.write_text("no HDF5")
    broken = tmp_path / "broken.h5"
    write_atlas_file(broken, atlas())
    with h5py.File(broken, "r+") as file:
        del file["vectors"]
    for path, words in ((other, "is not an atlas"), (text, "no readable HDF5"), (broken, "is damaged")):
        with pytest.raises(InputError, match=words):
            find_atlas(str(path))
    with pytest.raises(InputError, match="no such file"):
        find_atlas(str(tmp_path / "missing.h5"))


def test_unknown_values_are_empty_cells(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    write_rows(path, [{"a": float("nan"), "b": 1}, {"a": None, "b": 2.5}], "atlas")
    assert path.read_text() == "a\tb\n\t1\n\t2.5\n"
    write_rows(path, [], "atlas --trajectory --times")
    assert path.read_text() == "label\tsequences\tmean_pseudotime\ttime\n"
