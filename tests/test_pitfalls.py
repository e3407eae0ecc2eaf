"""Every pitfall shows its effect, and its check fails when the effect is taken away."""

import nbformat
import pytest
from conftest import CHAPTERS, LABEL, NBS

from cxr_tutorial.course import pitfalls_of


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
    assert {"image-level-leakage", "flipping", "accuracy-only"} <= set(PITFALLS) and len(PITFALLS) >= 24


@pytest.mark.parametrize("slug", PITFALLS)
def test_pitfall(slug, chapters):
    chapter, places = PITFALLS[slug]
    assert list(places) == ["wrong", "right", "check"], "the three cells come in this order"
    assert places["check"] == places["right"] + 1 == places["wrong"] + 2, "the three cells follow one another"
    notebook, error, _ = chapters[chapter]
    if error and notebook.cells[places["check"]].execution_count is None:
        raise error
    for kind, place in places.items():
        failed = [o for o in notebook.cells[place].outputs if o.output_type == "error"]
        assert not failed, f"the {kind} cell failed: {failed[0].ename}: {failed[0].evalue}"
    assert "assert" in notebook.cells[places["check"]].source
    rows = {row["pitfall"]: row for row in pitfalls_of(notebook)}
    assert set(rows[slug]) == {"pitfall", "wrong way", "right way", "truth"} and all(rows[slug].values())


@pytest.mark.parametrize("slug", PITFALLS)
def test_check_can_fail(slug, chapters):
    "With the right code in both cells the wrong way misleads nobody; with the wrong code in both, the right way lies. Both must be noticed."
    said = chapters[PITFALLS[slug][0]][2][slug]
    assert said.splitlines() == ["right code in both: the check failed", "wrong code in both: the check failed"]
