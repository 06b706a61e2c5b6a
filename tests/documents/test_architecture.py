"""ARCHITECTURE.md is true of the tree: its map, its files, the direction of imports, its worked example."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT

ROOMS = (
    "sytorch",
    "edits",
    "editset_helpers",
    "helpers",
    "model_classes",
    "experiments",
    "visualizer",
    "benchmarks",
    "checker",
)
LARGEST_ROOM = 12
TEXT = (CHECKOUT / "ARCHITECTURE.md").read_text()


def mapped() -> dict[str, list[str]]:
    """The folders of the map, in its order, and the files that it names in each."""
    rows = re.findall(r"^\| `([\w/]+)/` \| ([^|]+) \|", TEXT, re.MULTILINE)
    return {folder: re.findall(r"`(\w+)`", files) for folder, files in rows}


def files_of(package: str) -> list[Path]:
    return sorted((CHECKOUT / package).rglob("*.py"))


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(CHECKOUT).with_suffix("").parts).removesuffix(".__init__")


@cache
def imports() -> dict[str, set[str]]:
    """The modules of the rooms that each one names in an import, but for those that only a type checker sees."""
    paths = {module_name(path): path for package in ROOMS for path in files_of(package)}
    return {name: set(_named(path, set(paths))) - {name} for name, path in paths.items()}


def _named(path: Path, known: set[str]) -> Iterator[str]:
    for node in _run_nodes(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            for alias in node.names:
                longest = f"{node.module}.{alias.name}"
                yield from [name for name in (longest, str(node.module)) if name in known][:1]


def _run_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)):
            yield node
            yield from _run_nodes(node)


def room_of(module: str) -> str:
    """The folder of a module, as the map names it; a package's ``__init__`` belongs to the package."""
    path = module.replace(".", "/")
    return path if (CHECKOUT / path).is_dir() else path.rpartition("/")[0]


def circle(edges: dict[str, set[str]]) -> list[str]:
    """Modules of which each imports the next and the last one the first; none where there is no such circle."""
    done, way = set[str](), list[str]()

    def visit(module: str) -> list[str]:
        if module in way:
            return way[way.index(module) :]
        if module in done:
            return []
        way.append(module)
        found = next((ring for other in sorted(edges[module]) if (ring := visit(other))), [])
        way.pop()
        done.add(module)
        return found

    return next((ring for module in sorted(edges) if (ring := visit(module))), [])


def test_the_map_names_exactly_the_files_of_the_rooms() -> None:
    there = {
        str(path.relative_to(CHECKOUT).with_suffix(""))
        for package in ROOMS
        for path in files_of(package)
        if path.name != "__init__.py"
    }
    named = [f"{folder}/{file}" for folder, files in mapped().items() for file in files]
    assert len(named) == len(set(named))
    assert not there - set(named), "not in the map: " + ", ".join(sorted(there - set(named)))
    assert not set(named) - there, "not in the tree: " + ", ".join(sorted(set(named) - there))


def test_no_room_has_more_than_a_dozen_files() -> None:
    folders = {path.parent for package in ROOMS for path in files_of(package)}
    sizes = {str(folder.relative_to(CHECKOUT)): len([*folder.glob("[!_]*.py")]) for folder in folders}
    assert {folder: size for folder, size in sizes.items() if size > LARGEST_ROOM} == {}


def test_imports_between_rooms_of_sytorch_go_down_the_map_only() -> None:
    order = [folder for folder in mapped() if folder.startswith("sytorch/")]
    height = {folder: len(order) - place for place, folder in enumerate(order)}
    top = len(order) + 1  # where the package itself is, and all other packages
    climbing = [
        f"{module} -> {other}"
        for module, others in imports().items()
        for other in sorted(others)
        if height.get(room_of(other), top) > height.get(room_of(module), top)
    ]
    assert not climbing, "\n".join(climbing)


def test_imports_between_rooms_of_one_package_go_down_the_map_only() -> None:
    order = [folder for folder in mapped() if "/" in folder]
    climbing = [
        f"{module} -> {other}"
        for module, others in imports().items()
        for other in sorted(others)
        if {room_of(module), room_of(other)} <= set(order)
        and module.partition(".")[0] == other.partition(".")[0]
        and order.index(room_of(other)) < order.index(room_of(module))
    ]
    assert not climbing, "\n".join(climbing)


def test_no_module_imports_itself_by_a_detour() -> None:
    ring = circle(imports())
    assert not ring, " -> ".join([*ring, ring[0]])


def test_a_circle_is_seen() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


@pytest.mark.parametrize("page", ["ARCHITECTURE.md", "docs/glossary.md"])
def test_every_file_that_a_page_names_is_there(page: str) -> None:
    named = re.findall(r"`([\w/]+\.py)`", (CHECKOUT / page).read_text())
    assert len(named) >= 10
    missing = [name for name in named if not (CHECKOUT / name).is_file()]
    assert not missing, ", ".join(missing)


def test_the_three_hops_are_there() -> None:
    (line,) = re.findall(r"^Three hops to the program: (.+)$", TEXT, re.MULTILINE)
    hops = re.findall(r"`([\w.]+)`", line)
    assert len(hops) == 4
    for name in hops:
        module, _, attribute = name.rpartition(".")
        assert (CHECKOUT / f"{name.replace('.', '/')}.py").is_file() or hasattr(import_module(module), attribute), name


def test_the_worked_example_has_its_numbers() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    exec(example, {})
