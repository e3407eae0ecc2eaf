"""Cells are short, one idea each, and easy to read: the rules that CONTRIBUTING states."""

import ast
import re

import nbformat
import pytest
from conftest import NBS, NOTEBOOKS, quiz_text

# Of an exported cell or an example. Blank lines and `#|` lines are not counted, and neither are the
# questions of a quiz, which are text.
MOST_LINES = 32
MOST_COLUMNS = 100
COURSE = [name for name in NOTEBOOKS if name.startswith("course/")]
ROOMS = [name for name in NOTEBOOKS if "/" in name and not name.startswith("course/")]


def cells_of(name: str) -> list:
    return nbformat.read(NBS / f"{name}.ipynb", 4).cells


def code_of(source: str) -> str:
    "A cell without the lines that steer nbdev and Quarto."
    return re.sub(r"^#\|.*\n?", "", source, flags=re.M)


def is_exported(source: str) -> bool:
    return bool(re.search(r"^#\|\s*export(s|i)?\b", source, re.M))


def tree_of(source: str) -> list[ast.stmt]:
    return ast.parse(re.sub(r"^[%!].*$", "", code_of(source), flags=re.M)).body


def is_import(node: ast.stmt) -> bool:
    if isinstance(node, ast.If):
        return "TYPE_CHECKING" in ast.unparse(node.test)
    return isinstance(node, (ast.Import, ast.ImportFrom))


def definitions(source: str) -> list[ast.stmt]:
    return [n for n in tree_of(source) if isinstance(n, (ast.FunctionDef, ast.ClassDef))]


def code_cells(name: str) -> list[tuple[int, str]]:
    return [(i, c.source) for i, c in enumerate(cells_of(name)) if c.cell_type == "code"]


def lines_of(source: str) -> list[str]:
    return [line for line in code_of(source).splitlines() if line.strip()]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_first_cell_is_title_and_one_line(name):
    first = cells_of(name)[0]
    assert first.cell_type == "markdown"
    assert re.fullmatch(r"# [^\n]+\n\n> [^\n]+", first.source.strip()), "nbdev keeps only these"


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_imports_stand_in_cells_of_their_own(name):
    for number, source in code_cells(name):
        kinds = {is_import(node) for node in tree_of(source)}
        assert kinds != {True, False}, f"cell {number} mixes imports with code"


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_no_line_is_too_long(name):
    for number, source in code_cells(name):
        for line in source.splitlines():
            assert len(line) <= MOST_COLUMNS, f"cell {number}: {line}"


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_no_cell_is_too_long(name):
    for number, source in code_cells(name):
        count = 0 if quiz_text(source) else len(lines_of(source))
        if not all(is_import(node) for node in tree_of(source)):
            assert count <= MOST_LINES, f"cell {number} has {count} lines"


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_an_exported_cell_holds_one_definition(name):
    for number, source in code_cells(name):
        if is_exported(source):
            nodes = [n for n in tree_of(source) if not is_import(n)]
            found = definitions(source)
            assert len(found) <= 1, f"cell {number} defines {', '.join(n.name for n in found)}"
            assert not found or len(nodes) == 1, f"cell {number} mixes a definition with other code"


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_public_definition_is_shown_at_once(name):
    "Between a public definition and the next one stands an example that names it."
    waiting = None
    for number, source in [*code_cells(name), (None, "#| export\ndef end(): pass")]:
        if is_exported(source):
            public = [n for n in definitions(source) if not n.name.startswith("_")]
            public = [n for n in public if not re.search(r"#\|\s*exporti", source)]
            public = [
                n for n in public if not any("command" in ast.unparse(d) for d in n.decorator_list)
            ]
            if public:
                assert waiting is None, f"{waiting} has no example before cell {number}"
                waiting = public[0].name if number is not None else None
        elif waiting and re.search(rf"\b{waiting}\b", code_of(source)):
            waiting = None


@pytest.mark.parametrize("name", COURSE)
def test_examples_of_a_chapter_are_plain(name):
    "A learner reads examples: no lambda, and no comprehension inside another one."
    comprehension = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
    for number, source in code_cells(name):
        if is_exported(source) or re.search(r"^#\|\s*hide", source, re.M):
            continue
        for node in ast.walk(ast.Module(tree_of(source), [])):
            assert not isinstance(node, ast.Lambda), f"cell {number}: a lambda"
            if isinstance(node, comprehension):
                inner = [
                    n for n in ast.walk(node) if isinstance(n, comprehension) and n is not node
                ]
                assert not inner and len(node.generators) == 1, (
                    f"cell {number}: {ast.unparse(node)}"
                )


@pytest.mark.parametrize("name", COURSE)
def test_every_assertion_says_what_was_found(name):
    """Whoever changes a number reads what was expected and what came out, not a bare error: each
    message of a chapter's examples and checks holds a value."""
    for number, source in code_cells(name):
        if is_exported(source):
            continue
        for node in ast.walk(ast.Module(tree_of(source), [])):
            if isinstance(node, ast.Assert):
                said = ast.walk(node.msg) if node.msg else []
                found = any(isinstance(part, ast.FormattedValue) for part in said)
                assert found, f"cell {number} does not say what was found: {ast.unparse(node)}"


def test_methods_say_what_they_do():
    "Public methods of public classes have a docstring: the index of the API shows it."
    silent, inherited = [], ("forward", "train")  # PyTorch documents these
    for file in sorted((NBS.parent / "cxr_tutorial").rglob("*.py")):
        for kind in ast.parse(file.read_text(encoding="utf-8")).body:
            if not isinstance(kind, ast.ClassDef) or kind.name.startswith("_"):
                continue
            for method in kind.body:
                if isinstance(method, ast.FunctionDef) and not method.name.startswith("_"):
                    if not ast.get_docstring(method) and method.name not in inherited:
                        silent.append(f"{file.name}: {kind.name}.{method.name}")
    assert not silent, f"no docstring: {silent}"
