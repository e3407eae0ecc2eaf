"""The house has a direction: chapters export what a learner would copy, engines live in rooms."""

import ast
import re

import pytest
from conftest import NOTEBOOKS
from test_cells import code_cells, is_exported, tree_of

LEVELS = [
    ["parallel"],
    ["files"],
    ["phantom", "cache", "statistics"],
    ["audit"],
    ["study"],
    ["lab"],
    ["dev"],
]
LEVEL = {room: number for number, rooms in enumerate(LEVELS) for room in rooms}
OPEN_TO_CHAPTERS = {"files", "parallel"}
CHAPTERS = [name for name in NOTEBOOKS if name.startswith("course/")]
PLACES = [name for name in NOTEBOOKS if name.split("/")[0] in LEVEL]


def module_of(name: str) -> str | None:
    "What a notebook exports to, without the package's name."
    for _, source in code_cells(name):
        if found := re.search(r"^#\|\s*default_exp\s+(\S+)", source, re.M):
            return found[1]
    return None


MODULES = {module: name for name in NOTEBOOKS if (module := module_of(name))}


def imported(source: str) -> list[str]:
    "Modules of this package that a cell imports, also inside a function."
    modules = []
    for node in ast.walk(ast.Module(tree_of(source), [])):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, "no notebook can run a relative import"
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "cxr_tutorial":
            package = node.module.removeprefix("cxr_tutorial").lstrip(".")
            names = [".".join(filter(None, [package, alias.name])) for alias in node.names]
            known = [name if name in MODULES or name in LEVEL else package for name in names]
            modules += known
        if isinstance(node, ast.Import):
            names = [alias.name.partition(".") for alias in node.names]
            modules += [rest for root, _, rest in names if root == "cxr_tutorial"]
    return [module for module in modules if module]


def cells(name: str, exported: bool) -> list[tuple[int, list[str]]]:
    return [(i, imported(s)) for i, s in code_cells(name) if is_exported(s) == exported]


def is_earlier(module: str, chapter: str) -> bool:
    owner = MODULES.get(module, "")  # a whole room has no notebook
    return owner.startswith("course/") and owner < chapter


def test_every_module_has_one_notebook():
    owners = [module_of(name) for name in NOTEBOOKS if module_of(name)]
    assert len(owners) == len(set(owners)) and "phantom.anatomy" in owners and "splits" in owners


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_chapter_exports_what_a_learner_would_copy(name):
    for number, modules in cells(name, exported=True):
        for module in modules:
            allowed = module.split(".")[0] in OPEN_TO_CHAPTERS or is_earlier(module, name)
            assert allowed, f"exported cell {number} imports the engine {module}"


@pytest.mark.parametrize("name", CHAPTERS)
def test_examples_of_a_chapter_look_back(name):
    for number, modules in cells(name, exported=False):
        for module in modules:
            own = MODULES.get(module) == name
            allowed = own or module.split(".")[0] in LEVEL or is_earlier(module, name)
            assert allowed, f"example cell {number} imports {module}, which comes later"


@pytest.mark.parametrize("name", PLACES)
def test_rooms_import_chapters_and_lower_rooms(name):
    room = name.split("/")[0]
    for number, modules in cells(name, exported=True):
        for module in modules:
            other = module.split(".")[0]
            lower = other in LEVEL and (other == room or LEVEL[other] < LEVEL[room])
            assert lower or other not in LEVEL, f"cell {number} of {name} imports {module}"


def test_no_import_goes_round():
    edges = {}
    for module, name in MODULES.items():
        top = [s for _, s in code_cells(name) if is_exported(s)]
        edges[module] = {m for s in top for m in imported(s) if m in MODULES}
    done: set[str] = set()

    def walk(module: str, way: tuple) -> None:
        assert module not in way, " → ".join([*way, module])
        if module not in done:
            for other in edges[module] - {module}:
                walk(other, (*way, module))
            done.add(module)

    for module in edges:
        walk(module, ())
