"""``rnafm atlas`` with the weights and the reference atlas that ship with the program."""

from __future__ import annotations

import base64
import json
import re
import zlib
from pathlib import Path

from support.command import Command

from rnafm_cli.atlas.placement import REFERENCE_FILE
from rnafm_cli.weights.store import shipped_dir

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "rnas.fa"
REFERENCE = shipped_dir() / REFERENCE_FILE


def test_the_page_holds_structures(rnafm: Command, tmp_path: Path) -> None:
    arguments = ("atlas", EXAMPLES, "-o", tmp_path / "o", "--method", "pca", "--fold")
    result = rnafm(*arguments)
    assert result.returncode == 0, result.stderr
    kept = (tmp_path / "o" / "structures.dbn").read_text()
    structures = kept.splitlines()[2::3]
    page = (tmp_path / "o" / "atlas.html").read_text()
    found = re.search(r'"structures":\[([^]]*)\]', page)
    assert found is not None
    packed = [json.loads(zlib.decompress(base64.b64decode(text))) for text in json.loads(f"[{found[1]}]")]
    assert [one["brackets"] for one in packed] == structures
    assert all(one["drawing"].startswith("<svg") for one in packed)
    assert any("((((" in structure for structure in structures)
    again = rnafm(*arguments, "--force")
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "o" / "structures.dbn").read_text() == kept


def test_the_reference_fits_the_encoder_and_calls_types(rnafm: Command) -> None:
    assert REFERENCE.stat().st_size < 6e6
    result = rnafm("atlas", "--map-onto", "reference", EXAMPLES)
    assert result.returncode == 0, result.stderr
    calls = {line.split("\t")[0]: line.split("\t") for line in result.stdout.splitlines()[1:]}
    assert calls["tRNA-Phe"][1] == "tRNA" and float(calls["tRNA-Phe"][2]) > 0.8
    assert calls["let-7a-1"][1] == "pre_miRNA"
    assert len(calls) == 4 and all(0 < float(call[2]) <= 1 for call in calls.values())
