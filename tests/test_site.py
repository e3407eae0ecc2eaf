"""The website: nbdev's half, with a stand-in for Quarto; all of it where Quarto is installed."""

import os
import re
import shutil
import stat
from pathlib import Path

import nbformat
import pytest
from conftest import NBS, NOTEBOOKS, ROOT

from cxr_tutorial.dev.site import build_site, quarto_id
from cxr_tutorial.lab.assets import cell_options

QUARTO = """#!/bin/sh
[ "$1" = render ] && mkdir -p _docs && echo "rendered" > _docs/index.html
exit 0
"""
LINK = re.compile(r"\]\(([\w/.]*\.ipynb)?#([^)\s]+)\)")


def copy_of_the_repository(place: Path) -> Path:
    "What `make site` reads."
    unwanted = shutil.ignore_patterns(".ipynb_checkpoints", "__pycache__", "nbdev.yml")
    for name in ("nbs", "cxr_tutorial"):
        shutil.copytree(ROOT / name, place / name, ignore=unwanted)
    for name in ("settings.ini", "_quarto.yml", "README.md"):
        shutil.copy2(ROOT / name, place / name)
    return place


def contents(place: Path) -> dict[str, bytes]:
    "Every file but those that a build may write."
    files = [f for f in place.rglob("*") if f.is_file()]
    names = {f.relative_to(place).as_posix(): f for f in files}
    return {n: f.read_bytes() for n, f in names.items() if not n.startswith(("_build", "_docs"))}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    "A copy of the repository after `build_site`, where data would have been found if asked for."
    place = copy_of_the_repository(tmp_path_factory.mktemp("site") / "repository")
    before, tools = contents(place), place.parent / "bin"
    tools.mkdir()
    (tools / "quarto").write_text(QUARTO)
    (tools / "quarto").chmod((tools / "quarto").stat().st_mode | stat.S_IEXEC)
    os.utime(place / "nbs" / "index.ipynb")  # younger than README.md, as in a fresh clone
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
        patch.setenv("CXR_DATA", str(place.parent / "asked for"))
        docs = build_site(place)
    return place, before, docs


def page(built, name: str) -> nbformat.NotebookNode:
    return nbformat.read(built[0] / "_build" / "site" / "_proc" / f"{name}.ipynb", 4)


def prose(notebook: nbformat.NotebookNode) -> str:
    return "\n".join(c.source for c in notebook.cells if c.cell_type in ("markdown", "raw"))


def letters(text: str) -> str:
    "Only letters and digits: links, emphasis and line breaks may differ."
    text = re.sub(r"\]\([^)]*\)", "", text)
    return re.sub(r"[^\w]|_", "", text)


def test_it_is_built_and_no_other_file_changed(built):
    place, before, docs = built
    assert (docs / "index.html").read_text() == "rendered\n"
    assert contents(place) == before
    assert not list((place / "_build" / "site").glob("cache/*")), "data were read"
    settings = (place / "_build" / "site" / "_proc" / "_quarto.yml").read_text()
    assert "nbdev.yml" in settings and "output-dir: _docs" in (
        (place / "_build" / "site" / "_proc" / "nbdev.yml").read_text()
    )


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_no_sentence_is_lost(name, built):
    shown = letters(prose(page(built, name)))
    for cell in nbformat.read(NBS / f"{name}.ipynb", 4).cells:
        if cell.cell_type == "markdown":
            for sentence in re.split(r"(?<=[.!?])\s+|\n\n|\n[>#|*-]", cell.source):
                assert letters(sentence) in shown, sentence


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_nothing_is_executed_but_imports(name, built):
    "Outputs are the committed ones, and those of nbdev's own cells."
    stored = {c.id: c for c in nbformat.read(NBS / f"{name}.ipynb", 4).cells}
    for cell in page(built, name).cells:
        if cell.cell_type != "code" or not cell.outputs:
            continue
        said = [output.get("text") for output in cell.outputs]
        if cell.source.splitlines()[-1].startswith("show_doc("):
            assert said == [None], f"a progress bar, or a warning: {said}"
        else:
            assert cell.id in stored, f"nbdev ran a cell of its own: {cell.source[:80]}"
            assert said == [output.get("text") for output in stored[cell.id].outputs]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_exported_code_can_be_read(name, built):
    source = "\n".join(c.source for c in page(built, name).cells if c.cell_type == "code")
    for cell in nbformat.read(NBS / f"{name}.ipynb", 4).cells:
        if cell.cell_type == "code" and "export" in cell_options(cell.source):
            code = re.sub(r"^#\|.*\n", "", cell.source, flags=re.M).strip()
            assert code in source, f"not shown: {code[:80]}"


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_links_land_on_headings(name, built):
    for target, heading in LINK.findall(prose(page(built, name))):
        place = Path(os.path.normpath(Path(name).parent / target)).with_suffix("").as_posix()
        there = prose(page(built, place if target else name))
        titles = re.findall(r"^#+ (.+)$|^title: (.+)$", there, re.M)
        assert heading in {quarto_id(a or b) for a, b in titles}, f"{target}#{heading}"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("quarto") is None, reason="Quarto is not installed")
def test_quarto_makes_a_page_of_each_notebook(tmp_path):
    docs = build_site(copy_of_the_repository(tmp_path / "repository"))
    pages = {f.relative_to(docs).with_suffix("").as_posix() for f in docs.rglob("*.html")}
    assert len(pages) >= len(NOTEBOOKS)
