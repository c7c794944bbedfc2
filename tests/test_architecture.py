"""The shape of the package: who imports whom, what start-up loads, that every file has one noun."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "rnafm_cli"
FLOORS = (
    {"errors"},
    {"rna"},
    {"io"},
    {"weights", "viz"},
    {"encoder", "training"},
    {"families"},
    {"structure", "function", "atlas", "pretrain"},
    {"model"},
    {"cli"},
    {"__init__", "__main__"},
)
"""The rooms from the ground up; each may import itself and whatever lies below."""
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
FORBIDDEN_LIBRARIES = {
    "rna": {"torch", "typer", "rich", "h5py", "pandas"},
    "io": {"torch", "typer", "rich"},
    **{
        room: {"typer", "rich"}
        for room in ("weights", "viz", "encoder", "training", "families", "structure", "function", "atlas", "pretrain")
    },
}
LIGHT = {"typer", "rnafm_cli"} | set(sys.stdlib_module_names)
LIGHT_OF_OURS = ("rnafm_cli.cli", "rnafm_cli.errors", "rnafm_cli.__version__")
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
TREES = {name: ast.parse(path.read_text()) for name, path in MODULES.items()}


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of all imports in a tree, those inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def our_modules(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, module of ours) of all imports in a tree."""
    for line, name in imported(tree):
        if name.startswith("rnafm_cli."):
            inner = name.removeprefix("rnafm_cli.")
            yield line, inner if inner in MODULES else inner.rpartition(".")[0]


def test_imports_go_down() -> None:
    wrong = []
    for name, tree in TREES.items():
        room = name.split(".")[0]
        if room not in FLOOR:
            wrong.append(f"{name}: its room stands on no floor")
            continue
        for line, target in our_modules(tree):
            other = target.split(".")[0]
            if other and other != room and FLOOR.get(other, len(FLOORS)) >= FLOOR[room]:
                wrong.append(f"{name}:{line}: imports {target}, which lies no lower")
        libraries = FORBIDDEN_LIBRARIES.get(room, set())
        wrong += [f"{name}:{line}: imports {n}" for line, n in imported(tree) if n.split(".")[0] in libraries]
    assert not wrong, "\n".join(wrong)


def test_imports_make_no_cycle() -> None:
    targets = {name: {t for _, t in our_modules(tree) if t in MODULES} - {name} for name, tree in TREES.items()}
    left = dict(targets)
    while free := [name for name, its in left.items() if not its & left.keys()]:
        for name in free:
            del left[name]
    assert not left, f"cycles among or below {', '.join(left)}"


def test_commands_import_only_light_modules_at_the_top() -> None:
    wrong = []
    for name, tree in TREES.items():
        if name.split(".")[0] != "cli":
            continue
        top = ast.Module(body=[n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)], type_ignores=[])
        for line, n in imported(top):
            ours = n.startswith("rnafm_cli.")
            if n.split(".")[0] not in LIGHT or (ours and not n.startswith(LIGHT_OF_OURS)):
                wrong.append(f"{name}:{line}: imports {n}")
    assert not wrong, "\n".join(wrong)


def test_files_have_one_noun() -> None:
    assert len(MODULES) > 100
    vague = {"utils", "helpers", "common", "misc"}
    wrong = [f"{name}: says nothing" for name in MODULES if name.split(".")[-1] in vague]
    wrong += [f"{name}: has no docstring" for name, tree in TREES.items() if not ast.get_docstring(tree)]
    wrong += [f"{name}: over 700 lines" for name, p in MODULES.items() if len(p.read_text().splitlines()) > 700]
    assert not wrong, "\n".join(wrong)


def public_names(tree: ast.Module) -> Iterator[str]:
    """Classes, functions, constants and aliases of a module."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (target.id for target in targets if isinstance(target, ast.Name))


def test_public_names_mean_one_thing() -> None:
    """Functions of commands are called as the commands are, and the typer group of a command module is its ``app``."""
    homes = defaultdict(set)
    for name, tree in TREES.items():
        for public in public_names(tree):
            homes[public].add(name)
    commands = {"app", "annotate", "contact", "distance", "embed", "fold", "mrl", "rbp"}
    shared = {name: sorted(its) for name, its in homes.items() if len(its) > 1 and name[0] != "_"}
    wrong = [f"{name}: {', '.join(its)}" for name, its in shared.items() if name not in commands]
    assert not wrong, "\n".join(wrong)


WATCHED = """
import os, sys, traceback

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name in WATCHED:
            frames = [frame for frame, _ in traceback.walk_stack(sys._getframe(1))]
            modules = [f"{frame.f_globals['__name__']}:{frame.f_lineno}" for frame in frames]
            unasked = ("importlib", "_frozen", "__main__", "typer")
            chain = [module for module in reversed(modules) if not module.startswith(unasked)]
            sys.stderr.write(f"{' > '.join(chain)} imports {name}\\n")
            sys.stderr.flush()
            os._exit(99)

sys.meta_path.insert(0, Watch())
from rnafm_cli.cli.app import main
main()
"""
HEAVY = {"torch", "numpy", "pandas", "h5py", "scipy", "sklearn", "rich.progress"}
HEAVY |= {"RNA", "forgi", "umap", "numba", "matplotlib", "pyhmmer"}


@pytest.mark.parametrize(
    ("line", "heavy"),
    [
        *((line, HEAVY) for line in ("--help", "--version", "fold --no-such-option", "schema", "cite")),
        *((f"{command} --help", HEAVY) for command in ("embed", "atlas", "annotate", "finetune fold")),
        ("weights list", {"torch", "pandas", "h5py", "scipy"}),
        ("annotate in.fa", {"torch", "pandas", "h5py", "sklearn", "RNA", "matplotlib"}),
        ("fold --convert in.dbn", {"torch", "pandas", "h5py", "sklearn", "pyhmmer", "matplotlib"}),
        ("evaluate fold in.dbn in.dbn", {"torch", "h5py", "pyhmmer", "matplotlib"}),
    ],
)
def test_commands_load_no_library_before_they_need_it(line: str, heavy: set[str], tmp_path: Path) -> None:
    """A failure tells the chain of modules, with lines, that brought the library in."""
    (tmp_path / "in.fa").write_text(">a\nGGGGAAAACCCC\n")
    (tmp_path / "in.dbn").write_text(">a\nGGGGAAAACCCC\n((((....))))\n")
    command = [sys.executable, "-c", WATCHED.replace("WATCHED", repr(heavy)), *line.split()]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert ran.returncode == (2 if "no-such" in line else 0), ran.stderr
