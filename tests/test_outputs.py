"""The outputs that are committed are those that the code produces today."""

import nbformat
import pytest
from conftest import NBS, NOTEBOOKS
from outputs import differences


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_stored_outputs_are_what_the_code_shows(name, chapter):
    "Words are the same, numbers alike; `outputs.py` states how alike, and what may differ."
    fresh, error, _ = chapter
    if error:
        raise error
    stored = nbformat.read(NBS / f"{name}.ipynb", 4)
    found = differences(stored, fresh)
    remedy = "Read the prose beside these cells, then run `make outputs`."
    assert not found, "\n".join([f"{name} shows something else today:", *found, remedy])


def with_output(text: str, source: str = "show()") -> nbformat.NotebookNode:
    "A notebook of one cell that printed a text."
    stream = nbformat.v4.new_output("stream", name="stdout", text=text)
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source, outputs=[stream])])


@pytest.mark.parametrize(
    ("stored", "fresh", "same"),
    [
        ("AUROC 0.71", "AUROC 0.72", True),
        ("AUROC 0.71", "AUROC 0.81", False),
        ("5,216 images", "5,216 images", True),
        ("5,216 images", "4,216 images", False),
        ("60 patients", "67 patients", False),
        ("difference -0.12", "difference 0.12", False),
        ("0.98 of 1", "0.91 of 1", True),
        ("a leak", "no leak", False),
        ("one line\n", "one line\nand another\n", False),
        ("  a    0.5\n", "a   0.5\n", True),
        ("p = 1.2e-07", "p = 1.3e-07", True),
        ("p = 1.2e-07", "p = 1.2e-05", False),
        ("p = 1.2e-07", "p = 0.4", False),
        ("nan", "0.5", False),
    ],
)
def test_what_counts_as_the_same(stored, fresh, same):
    assert (differences(with_output(stored), with_output(fresh)) == []) == same


def test_a_cell_says_what_may_differ():
    timed = "#| varies: seconds\nshow()"
    assert differences(with_output("3 s", timed), with_output("9 s", timed)) == []
    assert differences(with_output("3 s"), with_output("9 s"))
    pair = with_output("the same"), with_output("the same")
    pair[1].cells.append(pair[1].cells[0])
    with pytest.raises(ValueError, match="longer"):
        differences(*pair)
