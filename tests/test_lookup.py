"""The look-up pages and the home page list what is there today, and every link of theirs lands."""

import os
import re
from functools import cache
from pathlib import Path

import nbformat
import pytest
from conftest import NBS, NOTEBOOKS

from cxr_tutorial.lab.api import api_section, list_api
from cxr_tutorial.lab.assets import cell_options
from cxr_tutorial.lab.indexes import (
    chapters_table,
    list_pitfalls,
    pitfall_cards,
    pitfall_in_view,
)

LINK = re.compile(r"\]\(([\w/.]+\.ipynb)(?:#([^)\s]+))?\)")
DEFINITION = re.compile(r"^(?:def|class) (\w+)|^(\w+)(?:: [^=]+)? = ", re.M)


def cells(name: str) -> list[nbformat.NotebookNode]:
    return nbformat.read(NBS / f"{name}.ipynb", 4).cells


def shown(name: str) -> list[str]:
    "The Markdown that the code cells of a notebook have put out."
    outputs = [output for cell in cells(name) for output in cell.get("outputs", [])]
    return [
        output.data["text/markdown"]
        for output in outputs
        if "text/markdown" in output.get("data", {})
    ]


@cache
def anchors(name: str) -> dict[str, set[str]]:
    """Where a link into a notebook can land: on headings everywhere; on exported definitions and on
    the cells of a pitfall only on pages, not in JupyterLab, which opens the notebook at its top."""
    found = {"heading": set(), "definition": set(), "label": set()}
    for cell in cells(name):
        if cell.cell_type == "markdown":
            headings = re.findall(r"^#+ (.+)$", cell.source, re.M)
            found["heading"] |= {heading.strip().replace(" ", "-") for heading in headings}
        elif cell.cell_type == "code":
            options = cell_options(cell.source)
            if "export" in options:
                found["definition"] |= {a or b for a, b in DEFINITION.findall(cell.source)}
            if "label" in options and "classes" in options:
                found["label"].add(options["label"])
    return found


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_links_in_outputs_land(name):
    for text in shown(name):
        for link, anchor in LINK.findall(text):
            target = Path(os.path.normpath(Path(name).parent / link)).with_suffix("").as_posix()
            assert target in NOTEBOOKS, link
            assert not anchor or anchor in set().union(*anchors(target).values()), (
                f"{link}#{anchor}"
            )


def test_the_home_page_shows_today_s_chapters_and_numbers():
    "Titles, minutes and the numbers of the mistake in view are those of the chapters."
    view, chapters = shown("index")
    said = "run index.ipynb again, with `make outputs`, then `make readme`"
    assert view == pitfall_in_view("image-level-leakage").data, said
    assert chapters == chapters_table().data, said
    pair = [cell_options(cell.source).get("classes") for cell in cells("index")]
    assert pair.index("right") == pair.index("wrong") + 1


def test_the_index_of_the_pitfalls_shows_today_s_numbers():
    pitfalls, pages = list_pitfalls(), "\n".join(shown("lookup/pitfalls"))
    for row in pitfalls.to_dict("records"):
        card = pitfall_cards(pitfalls[pitfalls.pitfall == row["pitfall"]]).data
        assert card in pages, f"{row['pitfall']}: run lookup/pitfalls again, with `make outputs`"
    assert len(re.findall(r"^### ", pages, re.M)) == len(pitfalls) >= 25
    labels = {label for name in NOTEBOOKS for label in anchors(name)["label"]}
    assert {f"check-{slug}" for slug in pitfalls.pitfall} == {
        t for t in labels if t[:6] == "check-"
    }


def test_the_index_of_the_api_shows_today_s_library():
    api, pages = list_api(), "\n".join(shown("lookup/api"))
    for room in api.room.unique():
        section = api_section(api, room).data
        assert section in pages, f"{room}: run lookup/api again, with `make outputs`"
    for row in api[api.kind != "constant"].itertuples():
        assert row.name in anchors(row.page)["definition"], f"{row.page} does not export {row.name}"
        assert f"](../{row.page}.ipynb#{row.name})`(" in pages


INTRODUCED = (  # how a chapter introduces a term, in italics
    r"called \*([^*]+)\*",
    r"\b[Aa]n? \*([^*]+)\* (?:is|asks|answers)\b",
    r"\*(\w[^*]+)\*(?:: |, the )",
    r"\*(\w[^*]+)\* \((?!\[)",
    r"\(\*([^*]+)\*[;)]",
    r"(?:[Tt]his is|calls that number) the \*([^*]+)\*",
    r"\bis \*([^*]+)\*(?: by |\. )",
)
NO_TERMS = {"patients"}  # emphasis


def test_the_glossary_lists_each_term_that_a_chapter_introduces():
    page = "\n".join(cell.source for cell in cells("lookup/glossary"))
    listed = [name.lower() for name in re.findall(r"^- \*\*(.+?)\*\*", page, re.M)]
    found = {}
    for name in NOTEBOOKS:
        for cell in cells(name) if name.startswith("course/") else []:
            if cell.cell_type == "markdown":
                text = " ".join(cell.source.replace("**", "").split())
                for pattern in INTRODUCED:
                    found |= {term.lower(): name for term in re.findall(pattern, text)}
    assert len(listed) > 80 and {"folds", "backbone", "bootstrap", "modality lut"} <= set(found)
    for term in set(found) - NO_TERMS:
        start = term.rstrip("s")[:6]  # "folds" are listed as "fold", "augmented" as "augmentation"
        assert any(entry.startswith(start) for entry in listed), f"{found[term]}: {term}"
