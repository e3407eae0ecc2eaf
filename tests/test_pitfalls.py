"""Every pitfall shows its effect, and its check fails when the effect is taken away."""

import re

import nbformat
import pytest
from conftest import CHAPTERS, NBS, executed

from cxr_tutorial.course import ChapterError, execute, pitfalls_of

LABEL = re.compile(r"^#\|\s*label:\s*(wrong|right|check)-([a-z0-9-]+)", re.M)


def find_pitfalls() -> dict[str, tuple[str, dict[str, int]]]:
    "Slug -> chapter and the places of its three cells."
    found = {}
    for chapter in CHAPTERS:
        for number, cell in enumerate(nbformat.read(NBS / f"{chapter}.ipynb", 4).cells):
            if cell.cell_type == "code" and (match := LABEL.search(cell.source)):
                assert f"#| classes: {match[1]}" in cell.source, f"{match[0]} has no matching classes option"
                found.setdefault(match[2], (chapter, {}))[1][match[1]] = number
    return found


PITFALLS = find_pitfalls()


def test_the_pitfalls_of_the_course_are_there():
    assert {"image-level-leakage", "flipping", "accuracy-only"} <= set(PITFALLS)


@pytest.mark.parametrize("slug", PITFALLS)
def test_pitfall(slug):
    chapter, places = PITFALLS[slug]
    assert list(places) == ["wrong", "right", "check"], "the three cells come in this order"
    assert places["check"] == places["right"] + 1 == places["wrong"] + 2, "the three cells follow one another"
    notebook, error = executed(chapter)
    if error and notebook.cells[places["check"]].execution_count is None:
        raise error
    for kind, place in places.items():
        failed = [o for o in notebook.cells[place].outputs if o.output_type == "error"]
        assert not failed, f"the {kind} cell failed: {failed[0].ename}: {failed[0].evalue}"
    assert "assert" in notebook.cells[places["check"]].source
    rows = {row["pitfall"]: row for row in pitfalls_of(notebook)}
    assert set(rows[slug]) == {"pitfall", "wrong way", "right way", "truth"} and all(rows[slug].values())


CHECK_MUST_FAIL = """
try:
    exec({check!r})
except AssertionError:
    print("the check failed")
else:
    raise RuntimeError("the check passed")
"""


def swapped(source: str, old: str, new: str) -> str:
    "The code of one way, filling the variable of the other."
    return re.sub(rf"\b{old}\b", new, re.sub(r"^#\|.*\n", "", source, flags=re.M))


@pytest.mark.parametrize("slug", PITFALLS)
def test_check_can_fail(slug):
    "With the right code in both cells the wrong way misleads nobody; with the wrong code in both, the right way lies. Both must be noticed."
    chapter, places = PITFALLS[slug]
    original = nbformat.read(NBS / f"{chapter}.ipynb", 4)
    wrong, right, check = (original.cells[places[k]].source for k in ("wrong", "right", "check"))
    pairs = {"right code in both": (swapped(right, "right", "wrong"), right), "wrong code in both": (wrong, swapped(wrong, "wrong", "right"))}
    for name, pair in pairs.items():
        tail = CHECK_MUST_FAIL.format(check=check)
        notebook = nbformat.v4.new_notebook(metadata=original.metadata)
        notebook.cells = [*original.cells[: places["wrong"]], *(nbformat.v4.new_code_cell(p) for p in (*pair, tail))]
        try:
            execute(notebook, NBS, f"{chapter} with the {name}")
        except ChapterError as error:
            pytest.fail(str(error).splitlines()[0])
        assert "the check failed" in notebook.cells[-1].outputs[0].text
