"""New HDF5 files appear whole or not at all, on a full disk and at a signal, too."""

from __future__ import annotations

import resource
import signal
from pathlib import Path

import h5py
import numpy as np
import pytest

from rnafm_cli.errors import InputError, RnafmError, UsageError
from rnafm_cli.io.embeddings import read_embeddings
from rnafm_cli.io.hdf5 import new_hdf5, open_hdf5


@pytest.mark.parametrize("checked", [True, False])
def test_a_full_disk_is_one_error_and_leaves_nothing(tmp_path: Path, checked: bool) -> None:
    """The file-size limit of the process stands for the end of the disk."""
    path = tmp_path / "x.h5"
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, old[1]))
    try:
        with pytest.raises(RnafmError, match=r"x.h5: cannot be written \(the disk is full\)"):
            with new_hdf5(path, track_order=True) as file:
                for k in range(50):
                    file.create_dataset(f"d{k}", data=np.random.default_rng(k).random(500))
                    if checked:
                        file.check()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert list(tmp_path.iterdir()) == []
    with new_hdf5(path) as file:
        file["a"] = 1
    with open_hdf5(path) as file:
        assert file["a"][()] == 1


def test_an_existing_file_is_kept_or_replaced(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with new_hdf5(path) as file:
        file["a"] = 1
    with pytest.raises(UsageError, match="exists"), new_hdf5(path, force=False):
        pass
    with pytest.raises(KeyError), new_hdf5(path) as file:
        file["b"] = 2
        raise KeyError("b")
    with h5py.File(path) as file:
        assert list(file) == ["a"]
    with new_hdf5(path) as file:
        file["d"] = 4
    with h5py.File(path) as file:
        assert list(file) == ["d"]
    assert [p.name for p in tmp_path.iterdir()] == ["x.h5"]


def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), new_hdf5(tmp_path / "x.h5") as file:
        for k in range(10_000):
            file.create_dataset(f"d{k}", data=np.zeros(100))
            file.check()
            if k == 20:
                signal.raise_signal(signal.SIGINT)
    assert list(tmp_path.iterdir()) == []


def test_reading_what_is_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"), open_hdf5(tmp_path / "x.h5"):
        pass
    (tmp_path / "x.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    with pytest.raises(InputError, match="is no readable HDF5 file; try"), open_hdf5(tmp_path / "x.h5", hint="try"):
        pass


def test_a_damaged_record_is_told_and_not_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with new_hdf5(path, track_order=True) as file:
        for k in range(3):
            file.create_dataset(f"d{k}", data=np.zeros(20, np.float32)).attrs["id"] = f"d{k}"
    with h5py.File(path) as file:
        place = h5py.h5o.get_info(file["d1"].id).addr
    content = bytearray(path.read_bytes())
    content[place] ^= 0x10
    path.write_bytes(content)
    with pytest.raises(InputError, match="x.h5: is damaged"):
        list(read_embeddings(path))
