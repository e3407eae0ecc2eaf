"""Callouts: boxes that JupyterLab, the pages and the site show alike, made of plain Markdown."""

import re

import nbformat
import pytest
from conftest import NBS, NOTEBOOKS
from nbconvert.filters import markdown2html

from cxr_tutorial.lab.indexes import list_pitfalls

COURSE = [name for name in NOTEBOOKS if name.startswith("course/")]
EXERCISES = [name for name in NOTEBOOKS if re.match(r"exercises/\d", name)]
KINDS = {
    "alert-info": "objectives",
    "alert-danger": "said",
    "alert-success": "keep",
    "alert-warning": "exercise",
}
BOX = re.compile(r'^<div class="alert ([\w-]+) (\w+)">\n\n(.+?)\n\n</div>$', re.M | re.S)


def texts(name: str) -> list[str]:
    cells = nbformat.read(NBS / f"{name}.ipynb", 4).cells
    return [cell.source for cell in cells if cell.cell_type == "markdown"]


def boxes(text: str) -> dict[str, str]:
    "What a cell's callouts hold, by their kind. Blank lines around it make it Markdown."
    found = BOX.findall(text)
    assert len(found) == text.count("<div") == text.count("</div>"), "no box, or no blank line"
    assert all(KINDS[look] == kind for look, kind, _ in found)
    assert not any(re.search(r"^#", content, re.M) for *_, content in found), "a heading in a box"
    return {kind: content for _, kind, content in found}


@pytest.mark.parametrize("name", COURSE)
def test_a_chapter_has_its_callouts(name):
    cells = texts(name)
    start = boxes(cells[1])["objectives"]
    assert re.findall(r"^\*\*(.+?)\*\*", start, re.M)[:2] == ["You will be able to", "Time"]
    assert "**May be skipped**" in start and "**Path**" not in start
    kept = [cell for cell in cells if re.search(r"^## What to keep$", cell, re.M)]
    assert len(kept) == (0 if name.endswith(("17_capstone", "18_summary")) else 1)
    for cell in kept:
        assert cell.split("## What to keep\n\n")[1].startswith("<div"), "all of it is in the box"
        assert re.fullmatch(r"(- [^\n]+\n?){3,5}", boxes(cell)["keep"]), "three to five lines"
    for cell in cells:
        if re.match(r"## Exercises?\n", cell):
            assert "](../exercises/" in boxes(cell)["exercise"]


@pytest.mark.parametrize("name", COURSE)
def test_a_pitfall_opens_with_what_people_say(name):
    "The quotation in the box is the one that the index of the pitfalls shows."
    held = [boxes(text)["said"] for text in texts(name) if "said" in boxes(text)]
    listed = list_pitfalls()
    said = listed.said[listed.chapter == name].tolist()
    assert len(held) == len(said) == "\n".join(texts(name)).count("\n## Pitfall: ")
    for box, quotation in zip(held, said, strict=True):
        assert box.startswith(f"*{quotation}*")


@pytest.mark.parametrize("name", EXERCISES)
def test_an_exercise_says_in_a_callout_what_to_hand_in(name):
    assert boxes(texts(name)[1])["exercise"].startswith("**Hand in** ")


@pytest.mark.parametrize("name", [*COURSE, *EXERCISES])
def test_markdown_in_callouts_is_shown_as_markdown(name):
    for text in texts(name):
        if '<div class="alert' in text:
            shown = re.findall(r'<div class="alert.*?</div>', markdown2html(text), re.S)
            assert len(shown) == len(boxes(text))
            for box in shown:
                assert re.search(r"<(strong|li|em)>", box) and not re.search(r"\*\*|\n- ", box)
