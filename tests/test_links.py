"""Links beside a page, and the cell that installs the course where a notebook is opened alone."""

import builtins
import re
import runpy
from email.message import Message
from urllib.parse import urlsplit

import nbformat
import pytest
import setuptools
from conftest import NBS, NOTEBOOKS, ROOT

from cxr_tutorial.dev import links
from cxr_tutorial.dev.links import install_cell, page_links, repository

ALONE = [name for name in NOTEBOOKS if name.startswith(("course/", "exercises/"))]


def cells_of(name: str) -> list:
    return nbformat.read(NBS / f"{name}.ipynb", 4).cells


@pytest.mark.parametrize("name", ALONE)
def test_a_notebook_alone_installs_the_course(name):
    cells = cells_of(name)
    again = "from cxr_tutorial.dev.links import write_install_cells; write_install_cells(NBS)"
    assert cells[2].source == install_cell(), f"put it there with: {again}, NBS = Path('nbs')"
    assert not cells[2].outputs and [c.cell_type for c in cells[:2]] == ["markdown", "markdown"]
    assert sum("git+https" in cell.source for cell in cells) == 1


@pytest.mark.parametrize("missing", [True, False])
def test_the_cell_installs_exactly_if_the_package_is_missing(missing, monkeypatch):
    asked, own_import = [], builtins.__import__

    class Shell:
        run_line_magic = staticmethod(lambda *words: asked.append(words))

    def without(name, *others):
        if name.split(".")[0] == "cxr_tutorial":
            raise ModuleNotFoundError(f"No module named {name!r}")
        return own_import(name, *others)

    code = compile(install_cell(), "cell", "exec")
    with monkeypatch.context() as patch:
        if missing:
            patch.setattr(builtins, "__import__", without)
        exec(code, {"get_ipython": Shell})
    address, branch = repository()
    expected = [("pip", f"install --quiet git+{address}@{branch}")] if missing else []
    assert asked == expected


@pytest.mark.parametrize("name", ALONE)
def test_a_notebook_alone_reads_no_file_beside_it(name):
    "`course_file` finds what belongs to the course, wherever the notebook lies."
    for number, cell in enumerate(cells_of(name)):
        if cell.cell_type == "code":
            code = re.sub(r"^\s*#.*", "", cell.source, flags=re.M)
            beside = re.findall(r"""["'](?:\.\.?/|nbs/)[^"']*["']|Path\(\)|\bgetcwd\b""", code)
            assert not beside, f"cell {number}: {beside}"


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_links_beside_a_page_lead_to_its_notebook(name):
    address, branch = repository()
    owner = urlsplit(address).path
    for said, link in page_links(name).items():
        parts = urlsplit(link)
        assert parts.scheme == "https" and re.fullmatch(r"[!-~]+", link), said
        assert owner in link and f"nbs/{name}.ipynb" in link and branch in link, said


def test_an_installed_package_knows_the_address(tmp_path, monkeypatch):
    "The wheel has no settings.ini: the metadata that setup.py writes say the same."
    expected = repository()
    facts, written = {}, Message()
    monkeypatch.setattr(setuptools, "setup", lambda **said: facts.update(said))
    runpy.run_path(str(ROOT / "setup.py"))
    for name, address in facts["project_urls"].items():
        written["Project-URL"] = f"{name}, {address}"
    monkeypatch.setattr(links, "metadata", lambda package: written)
    monkeypatch.setattr(links.cxr_tutorial, "__file__", str(tmp_path / "cxr_tutorial" / "x.py"))
    assert repository() == expected
