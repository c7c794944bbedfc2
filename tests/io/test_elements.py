"""Loop types through forgi: right where it is installed, silent, and a plain error where it is not."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

from rnafm_cli.io.structure_output import OUTPUT_FORMATS, element_string
from rnafm_cli.rna.pairs import from_dot_bracket
from rnafm_cli.rna.records import StructureRecord

needs_forgi = pytest.mark.skipif(importlib.util.find_spec("forgi") is None, reason="forgi is not installed")


@needs_forgi
@pytest.mark.forgi
@pytest.mark.parametrize(
    ("structure", "elements"),
    [
        ("..(((...)))..", "ffssshhhssstt"),
        ("((.((...))))", "ssisshhhssss"),
        ("((..((...))..((...))..))", "ssmmsshhhssmmsshhhssmmss"),
        (".(...).", "fshhhst"),
        ("(.(...).)", "sishhhsis"),
    ],
)
def test_elements_of_known_structures(structure: str, elements: str) -> None:
    record = StructureRecord("a", ("GCAU" * 10)[: len(structure)], from_dot_bracket(structure))
    assert element_string(record) == elements


@needs_forgi
@pytest.mark.forgi
def test_four_lines_per_record() -> None:
    record = StructureRecord("a", "GGGAAACCR", from_dot_bracket("(((...)))"), "text")
    assert OUTPUT_FORMATS["elements"][0].text(record, None) == ">a text\nGGGAAACCN\n(((...)))\nssshhhsss\n"


@needs_forgi
@pytest.mark.forgi
def test_pseudoknots_and_unpaired_rnas_are_annotated() -> None:
    knot = StructureRecord("a", "GGGAAACCCUUU", from_dot_bracket("((([[[)))]]]"))
    assert len(element_string(knot)) == 12
    assert element_string(StructureRecord("b", "AAAA")) == "ffff"


CODE = """if True:
    import sys
    from rnafm_cli.io.structure_output import element_string
    from rnafm_cli.rna.pairs import from_dot_bracket
    from rnafm_cli.rna.records import StructureRecord
    record = StructureRecord("a", "GGGAAACCC", from_dot_bracket("(((...)))"))
    {setup}
    sys.stdout.write(element_string(record))
    sys.stdout.flush()
    sys.stderr.write("end")
"""


@needs_forgi
@pytest.mark.forgi
def test_nothing_but_ours_reaches_stderr() -> None:
    argv = [sys.executable, "-c", CODE.format(setup="pass")]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("ssshhhsss", "end")


@needs_forgi
@pytest.mark.forgi
def test_closed_stderr_is_no_obstacle() -> None:
    code = CODE.format(setup="import os; os.close(2); sys.stderr = None").replace("sys.stderr.write", "str")
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout == "ssshhhsss"


def test_without_forgi_the_error_says_what_to_install() -> None:
    setup = "sys.modules['forgi'] = None"
    done = subprocess.run([sys.executable, "-c", CODE.format(setup=setup)], capture_output=True, text=True)
    assert done.returncode == 1
    assert "RnafmError: loop types need the forgi package" in done.stderr
    assert "pip install forgi" in done.stderr
