"""The shape of the package: who imports whom, what start-up loads, how long files are."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "rnafm_cli"
ALLOWED = {
    "cli": {"cli", "tasks", "training", "viz", "models", "data", "io", "rna", "geometry"},
    "tasks": {"tasks", "models", "data", "io", "rna", "geometry"},
    "training": {"training", "models", "data", "io", "rna", "geometry"},
    "models": {"models", "rna"},
    "data": {"data", "models", "rna", "io"},
    "viz": {"viz", "rna", "io", "geometry"},
    "io": {"io", "rna"},
    "rna": {"rna"},
    "geometry": {"geometry"},
}
FORBIDDEN_LIBRARIES = {
    "io": {"torch", "typer", "rich"},
    "rna": {"torch", "typer", "rich", "h5py", "pandas"},
    "geometry": {"torch", "typer", "rich", "h5py", "pandas", "umap", "sklearn", "numba"},
    "tasks": {"typer", "rich"},
    "training": {"typer", "rich"},
    "models": {"typer", "rich"},
    "data": {"typer", "rich"},
}
LIGHT = {"typer", "rnafm_cli"} | set(sys.stdlib_module_names)
MODULES = sorted(PACKAGE.rglob("*.py"))


def imported(tree: ast.AST) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_package_is_found() -> None:
    assert len(MODULES) > 20


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_follow_the_design(path: Path) -> None:
    layer = path.relative_to(PACKAGE).parts[0]
    if layer not in ALLOWED:
        return
    names = imported(ast.parse(path.read_text()))
    layers = {n.split(".")[1] for n in names if n.startswith("rnafm_cli.") and n.split(".")[1] in ALLOWED}
    assert layers <= ALLOWED[layer]
    assert not {n.split(".")[0] for n in names} & FORBIDDEN_LIBRARIES.get(layer, set())


@pytest.mark.parametrize("path", sorted((PACKAGE / "cli").glob("*.py")), ids=lambda p: p.name)
def test_commands_import_only_light_modules_at_the_top(path: Path) -> None:
    tree = ast.parse(path.read_text())
    top = [n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)]
    names = imported(ast.Module(body=list(top), type_ignores=[]))
    assert {n.split(".")[0] for n in names} <= LIGHT
    ours = {n for n in names if n.startswith("rnafm_cli.")}
    assert all(n.startswith(("rnafm_cli.cli", "rnafm_cli.errors", "rnafm_cli.__version__")) for n in ours)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_have_one_noun(path: Path) -> None:
    assert path.stem not in {"utils", "helpers", "common", "misc"}
    assert len(path.read_text().splitlines()) <= 400
    assert ast.get_docstring(ast.parse(path.read_text()))


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["fold", "--no-such-option"], ["embed", "--help"], ["atlas", "--help"]]
)
def test_start_up_loads_no_heavy_library(arguments: list[str]) -> None:
    code = (
        "import sys\n"
        f"sys.argv = ['rnafm', *{arguments!r}]\n"
        "from rnafm_cli.cli.app import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'numpy', 'pandas', 'h5py', 'scipy', 'rich.progress', 'RNA', 'forgi', 'umap', 'numba', "
        "'matplotlib'} & set(sys.modules)\n"
        "sys.stderr.write('heavy:' + ','.join(sorted(heavy)))\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stderr.endswith("heavy:")
