"""The script behind the table of pitfalls with fresh seeds and cohorts, and the table itself."""

import sys

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
import robust
import robust_cells
from test_pitfalls import PITFALLS

CHEAP = ("moved-threshold", "uncertain-as-negative")
CHAPTERS = robust.read_chapters()
BY_SLUG = {slug: chapter for chapter in CHAPTERS for slug in chapter.pitfalls}


@pytest.fixture(scope="module")
def two_draws(tmp_path_factory):
    "Two draws of two pitfalls, as the command makes them."
    out = tmp_path_factory.mktemp("robust")
    robust.main(["--only", *CHEAP, "--draws", "2", "--cohorts", "2", "--out", str(out)])
    return out


def test_a_row_for_each_claim_and_draw(two_draws):
    rows = pd.read_csv(two_draws / "robust.csv")
    for slug in CHEAP:
        claims = set(robust.claims_of(BY_SLUG[slug], slug))
        for draw in (1, 2):
            own = rows[(rows.pitfall == slug) & (rows.draw == draw)]
            assert set(own.claim) == claims and set(own.cohort) == {draw}
            assert own.value.notna().all() and own.bound.notna().all() and own.wrong.notna().all()
    table = (two_draws / "robust.md").read_text()
    assert all(f"| {slug} | 2 | 0 |" in table for slug in CHEAP)


def test_another_draw_is_another_number(two_draws):
    rows = pd.read_csv(two_draws / "robust.csv")
    first, second = (rows[rows.draw == draw].value.to_numpy() for draw in (1, 2))
    assert (first != second).mean() > 0.8  # shares of few patients may be the same by chance


def test_what_is_done_is_not_done_again(two_draws, monkeypatch):
    before = (two_draws / "robust.csv").read_bytes()

    def again(*_):
        raise AssertionError("a draw was run twice")

    monkeypatch.setattr(robust, "run_chapter", again)
    robust.main(["--only", *CHEAP, "--draws", "2", "--cohorts", "2", "--out", str(two_draws)])
    assert (two_draws / "robust.csv").read_bytes() == before
    with pytest.raises(AssertionError, match="twice"):
        robust.main(["--only", *CHEAP, "--draws", "3", "--cohorts", "2", "--out", str(two_draws)])


def test_changed_code_is_run_again(two_draws, tmp_path):
    rows = pd.read_csv(two_draws / "robust.csv")
    rows.loc[rows.pitfall == CHEAP[0], "code"] = "other"
    rows.to_csv(tmp_path / "robust.csv", index=False)
    kept = robust.kept_rows(tmp_path / "robust.csv", CHAPTERS)
    assert set(kept.pitfall) == {CHEAP[1]}


@pytest.mark.parametrize("slug", CHEAP)
def test_draw_0_is_the_chapter_as_it_is_stored(slug):
    stored = BY_SLUG[slug].stored[slug]
    row = robust.run_chapter(BY_SLUG[slug], [slug], 0, 0)[0]
    assert (row["wrong"], row["right"]) == (stored["wrong way"], stored["right way"])


def drawn() -> list[float]:
    "A number from each source that a chapter may use, with a seed."
    import random

    import torch
    from sklearn.model_selection import train_test_split

    from cxr_tutorial.environment import seed_everything
    from cxr_tutorial.splits import draw_lots

    numbers = [np.random.default_rng(1).random(), np.random.default_rng([1, 2]).random()]
    seed_everything(1)
    numbers += [random.random(), np.random.rand(), torch.rand(1).item()]
    numbers += [torch.rand(1, generator=torch.Generator().manual_seed(1)).item()]
    numbers += [pd.Series(range(10**6)).sample(1, random_state=1).iloc[0]]
    numbers += [train_test_split(range(10**6), test_size=1, random_state=1)[1][0]]
    return [*numbers, draw_lots(["ann"], 1).iloc[0]]


def test_all_sources_draw_something_else():
    as_they_are = drawn()
    found = {}
    for draw in (0, 1, 2):
        with robust.fresh(cohort=5, draw=draw):
            found[draw] = drawn()
    assert found[0] == as_they_are == drawn()
    for one, other in ((0, 1), (0, 2), (1, 2)):
        same = np.equal(found[one], found[other])
        assert not same.any(), f"draws {one} and {other}: the same numbers at {same.nonzero()[0]}"


def test_patients_depend_on_the_cohort_alone(tmp_path):
    from cxr_tutorial.phantom import cohort as phantom

    settings = phantom.CohortSettings(patients=4, size=(48, 64))
    ages = {}
    for cohort, draw in ((0, 0), (0, 3), (1, 0), (1, 3)):
        with robust.fresh(cohort, draw):
            folder = tmp_path / f"{cohort}{draw}"
            ages[cohort, draw] = phantom.write_cohort(folder, settings).age.tolist()
    assert ages[0, 0] == ages[0, 3] != ages[1, 0] == ages[1, 3]
    assert phantom.write_cohort(tmp_path / "as it is", settings).age.tolist() == ages[0, 0]


def test_a_failed_claim_is_noted_and_the_check_goes_on():
    rows, source = [], "assert 0 < x < 1, 'low'\nassert x == 2, 'other'\nassert done"
    tree = [robust._Claims().visit(node) for node in robust.ast.parse(source).body]
    namespace = {"x": 2, "done": False, "_claim": robust._noting(rows)}
    robust._execute(tree, 0, namespace)
    found = [(row["claim"], row["holds"]) for row in rows]
    assert found == [("0 < x", True), ("x < 1", False), ("x == 2", True), ("done", False)]
    assert [row["bound"] for row in rows[:3]] == [2, 1, 2]


def test_a_cell_that_breaks_gives_a_row(monkeypatch):
    slug = CHEAP[0]
    chapter = robust_cells.read_chapter(robust.COURSE / f"{BY_SLUG[slug].name}.ipynb")
    wrong = next(u for u in chapter.units if u.slug == slug and u.way == "wrong")
    wrong.tree = robust.ast.parse("1 / 0").body
    rows = robust.run_chapter(chapter, [slug], 0, 0)
    assert any("ZeroDivisionError" in row["claim"] and not row["holds"] for row in rows)


def units_of(*cells: str) -> robust_cells.Chapter:
    units = [unit for n, cell in enumerate(cells) for unit in robust_cells._units_of(cell, n)]
    return robust_cells.Chapter("made up", "", units, {})


def test_only_what_a_pitfall_needs_is_run():
    chapter = units_of(
        "import math",
        "slow = 1",
        "rows = []\nfor k in range(3):\n    rows.append(k)",
        "def helper(x):\n    return x + later",
        "later = 5\nother = 6",
        "#| label: wrong-a\nrows = [slow]\nwrong = rows",
        "#| label: right-a\nright = slow",
        "#| label: check-a\nassert wrong != right",
        "tables = {1: []}\nfor key, table in tables.items():\n    table.append(helper(key))",
        "#| label: wrong-b\nwrong = [helper(t) for t in tables]",
        "#| label: right-b\nright = 2\nright += later",
        "#| label: check-b\nassert wrong[0] < right",
    )
    run = [chapter.units[n].cell for n in robust_cells.needed(chapter, "a")]
    assert sorted(set(run)) == [0, 1, 5, 6, 7]
    run = [
        (chapter.units[n].cell, sorted(chapter.units[n].binds))
        for n in robust_cells.needed(chapter, "b")
    ]
    assert [cell for cell, _ in run] == [0, 3, 4, 8, 8, 9, 10, 11]
    assert (4, ["other"]) not in run


def test_each_pitfall_of_the_course_stands_in_the_table():
    rows = pd.read_csv(ROOT / "benchmarks" / "robust.csv")
    table = (ROOT / "benchmarks" / "robust.md").read_text()
    assert set(rows.pitfall) == set(PITFALLS), "make robust measures what is missing"
    for slug, own in rows.groupby("pitfall"):
        draws = own.groupby(["cohort", "draw"]).ngroups
        assert own.cohort.nunique() >= 3 and draws >= 6, f"{slug}: run make robust"
        today = set(robust.claims_of(BY_SLUG[slug], slug))
        assert set(own.claim) == today, f"{slug}: its check has changed: run make robust"
        assert f"| {slug} | {draws} |" in table


def test_no_pitfall_fails_more_often_than_it_may():
    "One in fifty is aimed at; more than two in twenty would be no accident (p < 0.01)."
    rows = pd.read_csv(ROOT / "benchmarks" / "robust.csv")
    holds = rows.groupby(["pitfall", "cohort", "draw"]).holds.all().groupby("pitfall")
    allowed = np.maximum(1, 0.1 * holds.size())
    failed = holds.size() - holds.sum()
    too_often = failed[failed > allowed].to_dict()
    assert not too_often, too_often


def test_unseen_draws_are_of_other_cohorts():
    "No draw and no cohort that was at hand when bounds were set."
    rows, chapters = pd.DataFrame(columns=robust.COLUMNS), robust.read_chapters()[:1]
    tasks = robust.missing(rows, chapters, None, 6, 3, robust.AT_HAND)
    assert [task[2:] for task in tasks] == [(4, 21), (5, 22), (6, 23), (4, 24), (5, 25), (6, 26)]


def test_a_pitfall_that_was_changed_later_is_drawn_further_on():
    rows = pd.DataFrame(columns=robust.COLUMNS)
    ((slug, (draws, cohorts)),) = robust.LONGER.items()
    asked = [slug, "pooled-hospitals"]
    chapters = [BY_SLUG[slug]]
    tasks = robust.missing(rows, chapters, asked, 1, 3)
    assert [task[1:] for task in tasks] == [(asked, 1, 1)]
    tasks = robust.missing(rows, chapters, asked, 1, 3, robust.AT_HAND)
    assert [task[1:] for task in tasks] == [
        ([slug], cohorts + 1, draws + 1),
        (["pooled-hospitals"], 4, 21),
    ]
    stored = pd.read_csv(ROOT / "benchmarks" / "robust.csv")
    own = stored[(stored.pitfall == slug) & (stored.draw > robust.AT_HAND[0])]
    assert own.draw.min() > draws and own.cohort.min() > cohorts
