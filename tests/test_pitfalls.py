"""Every pitfall shows its effect, and its check fails when the effect is taken away."""

import nbformat
import pytest
from conftest import LABEL, NBS, NOTEBOOKS

from cxr_tutorial.dev.pages import cell_options
from cxr_tutorial.dev.runner import pitfalls_of

SLUGS = {
    "unseeded-run",
    "raw-dicom-values",
    "image-level-leakage",
    "duplicate-images",
    "oversample-before-split",
    "preprocessing-before-split",
    "metadata-leakage",
    "temporal-leakage",
    "squashed-aspect-ratio",
    "too-small-images",
    "flipping",
    "frozen-batchnorm",
    "channel-mismatch",
    "wrong-input-range",
    "softmax-for-multilabel",
    "last-checkpoint",
    "augmented-evaluation",
    "ignored-uncertainty",
    "threshold-on-test",
    "test-set-peeking",
    "ignored-prevalence",
    "extremes-only",
    "accuracy-only",
    "moved-threshold",
    "double-balancing",
    "uncertain-as-negative",
    "best-fold-reporting",
    "tuning-without-nesting",
    "shortcut-learning",
    "heat-map-as-proof",
    "label-noise",
    "average-over-subgroups",
    "hidden-strata",
    "no-external-test",
    "pooled-hospitals",
}


def find_pitfalls() -> dict[str, tuple[str, dict[str, int]]]:
    "Slug -> notebook and the places of its three cells."
    found = {}
    for name in NOTEBOOKS:
        for number, cell in enumerate(nbformat.read(NBS / f"{name}.ipynb", 4).cells):
            if cell.cell_type == "code" and (match := LABEL.search(cell.source)):
                assert cell_options(cell.source)["classes"] == match[1], match[0]
                found.setdefault(match[2], (name, {}))[1][match[1]] = number
    return found


PITFALLS = find_pitfalls()
each = pytest.mark.parametrize(
    ("slug", "name"), [(slug, place[0]) for slug, place in PITFALLS.items()], ids=list(PITFALLS)
)


def test_the_pitfalls_of_the_course_are_there():
    assert set(PITFALLS) >= SLUGS


@each
def test_each_cell_says_what_it_is_without_any_extension(slug, name):
    "In its first visible line: Colab, VS Code and GitHub show no labels."
    cells = nbformat.read(NBS / f"{name}.ipynb", 4).cells
    for kind, place in PITFALLS[slug][1].items():
        lines = cells[place].source.splitlines()
        first = next(line for line in lines if not line.startswith("#|"))
        assert first.startswith(f"# {kind}: ") and len(first) > 20, first


@each
def test_pitfall(slug, name, chapter):
    places = PITFALLS[slug][1]
    assert list(places) == ["wrong", "right", "check"], "the three cells come in this order"
    follow = places["check"] == places["right"] + 1 == places["wrong"] + 2
    assert follow, "the three cells follow one another"
    notebook, error, _ = chapter
    if error and notebook.cells[places["check"]].execution_count is None:
        raise error
    for kind, place in places.items():
        failed = [o for o in notebook.cells[place].outputs if o.output_type == "error"]
        assert not failed, f"the {kind} cell failed: {failed[0].ename}: {failed[0].evalue}"
    assert "assert" in notebook.cells[places["check"]].source
    row = {row["pitfall"]: row for row in pitfalls_of(notebook)}[slug]
    assert set(row) == {"pitfall", "wrong way", "right way", "truth"} and all(row.values())


@each
def test_check_can_fail(slug, name, chapter):
    """With the right code in both cells the wrong way misleads nobody; with the wrong code in both,
    the right way lies. Both must be noticed."""
    said = chapter[2][slug].splitlines()
    ways = ("right code in both", "wrong code in both")
    assert said == [f"{way}: the check failed" for way in ways]
