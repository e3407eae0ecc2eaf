"""Which statements of a chapter does a pitfall need? Names tell, without running anything.

`robust` runs those alone, so that a draw takes seconds and not the minutes of the whole chapter.
"""

import ast
import re
from dataclasses import dataclass, field
from pathlib import Path

import nbformat

from cxr_tutorial.dev.runner import pitfalls_of
from cxr_tutorial.files.atomic import fingerprint

LABEL = re.compile(r"^#\|\s*label:\s*(wrong|right|check)-([a-z0-9-]+)", re.M)
IMPORTS = ast.Import | ast.ImportFrom


@dataclass
class Unit:
    "A statement of a notebook: what it reads and binds; or a whole cell of a pitfall."

    tree: list
    cell: int
    way: str = ""  # wrong, right or check, in a cell of a pitfall
    slug: str = ""
    always: bool = False  # imports and seeds
    reads: set = field(default_factory=set)  # at once
    later: set = field(default_factory=set)  # when a function defined here is called
    binds: set = field(default_factory=set)
    changes: set = field(default_factory=set)  # bound before, and altered here


def _loads(node) -> set[str]:
    "Names that an expression or a definition takes from outside."
    inside = list(ast.walk(node))
    names = [n for n in inside if isinstance(n, ast.Name)]
    own = {n.id for n in names if not isinstance(n.ctx, ast.Load)}
    own |= {n.arg for n in inside if isinstance(n, ast.arg)}
    return {n.id for n in names if isinstance(n.ctx, ast.Load)} - own


def _stores(*nodes) -> set[str]:
    names = [n for node in nodes for n in ast.walk(node) if isinstance(n, ast.Name)]
    return {n.id for n in names if isinstance(n.ctx, ast.Store)}


def _base(node) -> str | None:
    "The name in front of dots and brackets."
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def _altered(node) -> set[str]:
    "Names of objects that a statement changes in place: x[0] = 1, x.y = 1, x.append(1), fit(x)."
    if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        parts = [t for target in targets for t in ast.walk(target)]
        return {_base(t) for t in parts if isinstance(t, ast.Attribute | ast.Subscript)} - {None}
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        given = [*node.value.args, *(k.value for k in node.value.keywords)]
        if isinstance(node.value.func, ast.Attribute):
            given.append(node.value.func)
        return {_base(g) for g in given} - {None}
    return set()


def _scan(statements: list, unit: Unit) -> None:
    "Fill in what statements read and bind, in their order."
    for node in statements:
        body = []
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            unit.later |= _loads(node) - unit.binds
            unit.binds.add(node.name)
            continue
        if isinstance(node, IMPORTS):
            unit.binds |= {(n.asname or n.name).split(".")[0] for n in node.names}
            continue
        if isinstance(node, ast.For):
            unit.reads |= _loads(node.iter) - unit.binds
            unit.binds |= _stores(node.target)
            body = node.body + node.orelse
            inside = set().union(*(_altered(n) for n in ast.walk(node)))
            if inside & _stores(node.target):  # for x in several: x.append(1)
                unit.changes |= _loads(node.iter) - unit.binds
        elif isinstance(node, ast.With):
            unit.reads |= set().union(*(_loads(i) for i in node.items)) - unit.binds
            unit.binds |= _stores(*node.items)
            body = node.body
        elif isinstance(node, ast.If | ast.While):
            unit.reads |= _loads(node.test) - unit.binds
            body = node.body + node.orelse
        else:
            own = _stores(node) if isinstance(node, ast.Assign) else set()
            again = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)} & own
            read = _loads(node.value) if isinstance(node, ast.Assign) else _loads(node)
            unit.reads |= (read | (again & read)) - unit.binds
            unit.changes |= _altered(node) - unit.binds
            if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
                unit.changes |= {node.target.id} - unit.binds
                unit.reads |= {node.target.id} - unit.binds
            for target in getattr(node, "targets", []):
                unit.reads |= _loads(target) - unit.binds
            unit.binds |= _stores(node) if isinstance(node, ast.Assign | ast.AnnAssign) else set()
        _scan(body, unit)


class _NoAsserts(ast.NodeTransformer):
    "Only the claims of a check are counted; what else a chapter asserts stops nothing here."

    def visit_Assert(self, node):
        return ast.copy_location(ast.Pass(), node)


def _units_of(source: str, number: int) -> list[Unit]:
    "The statements of a cell, or the whole cell if it belongs to a pitfall."
    if re.search(r"^#\|\s*(export|label:\s*(quiz|explorer))", source, re.M):
        return []  # exported: the library has it
    if "get_ipython" in source:
        return []
    tree, label = ast.parse(source).body, LABEL.search(source)
    if label:
        parts = [tree]
    else:
        shown = tree and isinstance(tree[-1], ast.Expr) and "seed_everything" not in source
        parts = [[statement] for statement in (tree[:-1] if shown else tree)]
    units = []
    for part in parts:
        unit = Unit(part, number, *(label.groups() if label else ()))
        if unit.way != "check":
            unit.tree = [_NoAsserts().visit(node) for node in part]
        seeds = ast.unparse(part[0]).startswith(("seed_everything(", "set_style("))
        unit.always = isinstance(part[0], IMPORTS) or (seeds and not label)
        _scan(part, unit)
        units.append(unit)
    return units


@dataclass
class Chapter:
    "The statements of a chapter, and the module that it exports."

    name: str
    module: str
    units: list
    stored: dict  # pitfall -> what its check reported when the notebook was run

    @property
    def pitfalls(self) -> list[str]:
        return [u.slug for u in self.units if u.way == "check"]


def read_chapter(file: Path) -> Chapter:
    "Read a notebook of the course."
    notebook = nbformat.read(file, 4)
    cells = [(n, c.source) for n, c in enumerate(notebook.cells) if c.cell_type == "code"]
    module = re.search(r"^#\|\s*default_exp\s+(\S+)", "\n".join(s for _, s in cells), re.M)
    units = [unit for number, source in cells for unit in _units_of(source, number)]
    made = set().union(*(u.binds for u in units if not isinstance(u.tree[0], IMPORTS)))
    for unit in units:
        unit.changes &= made  # not a library
    stored = {row["pitfall"]: row for row in pitfalls_of(notebook)}
    return Chapter(file.stem, module[1] if module else "", units, stored)


def needed(chapter: Chapter, slug: str) -> list[int]:
    "The numbers of the statements that a pitfall needs, in the chapter's order."
    units, chosen, asked = chapter.units, set(), set()

    def trace(name: str, limit: int) -> None:
        "Whatever gives a name its value before statement `limit`."
        if (name, limit) in asked:
            return
        asked.add((name, limit))
        for number in reversed(range(limit)):
            if name in units[number].changes:
                take(number, limit)
            if name in units[number].binds:
                return take(number, limit)

    def take(number: int, limit: int) -> None:
        chosen.add(number)
        for name in units[number].reads | units[number].changes:
            trace(name, number)
        for name in units[number].later:
            trace(name, number)
            trace(name, limit)

    for number, unit in enumerate(units):
        if unit.slug == slug or unit.always:
            take(number, number)
    last = max(number for number, unit in enumerate(units) if unit.slug == slug)
    return sorted(number for number in chosen if number <= last)


def code_of(chapter: Chapter, slug: str) -> str:
    "A short name of the code that a pitfall runs; prose, comments and imports do not count."
    units = [chapter.units[number] for number in needed(chapter, slug)]
    trees = [unit.tree for unit in units if not unit.always]
    return fingerprint(*(ast.dump(node) for tree in trees for node in tree))[:8]
