"What the chapters show of real X-rays is what was measured there, in as many draws as is said."

import json
import re
from itertools import pairwise

import nbformat
import numpy as np
import pandas as pd
import pytest
from conftest import LABEL, NBS, NOTEBOOKS

from cxr_tutorial.lab.assets import cell_options, course_file
from cxr_tutorial.lab.evidence import real_evidence

EVIDENCE = real_evidence()
DRAWS = pd.read_csv(course_file("benchmarks/real_pitfalls.csv"))
KEY = ["pitfall", "name", "input"]
WAYS = ("wrong", "wrong_true", "right", "right_true")


def sections() -> dict[str, tuple[nbformat.NotebookNode, nbformat.NotebookNode]]:
    "Slug -> the check cell of a pitfall and the cell after it."
    found = {}
    for name in NOTEBOOKS:
        cells = nbformat.read(NBS / f"{name}.ipynb", 4).cells
        for cell, following in pairwise(cells):
            match = LABEL.search(cell.source) if cell.cell_type == "code" else None
            if match and match[1] == "check":
                found[match[2]] = cell, following
    return found


SECTIONS = sections()


def rows_of(slug: str) -> list[dict]:
    return EVIDENCE[EVIDENCE.pitfall == slug].to_dict("records")


@pytest.mark.parametrize("slug", SECTIONS)
def test_each_pitfall_shows_its_evidence_after_its_check(slug):
    cell = SECTIONS[slug][1]
    assert cell_options(cell.source).get("label") == f"real-{slug}", cell.source
    assert f'real_xrays("{slug}")' in cell.source
    html = cell.outputs[0].data["text/html"]
    assert len(html.encode()) < 5000, "a small table, not a page"
    assert rows_of(slug), "nothing was asked on real X-rays"


@pytest.mark.parametrize("slug", SECTIONS)
def test_a_chapter_shows_the_numbers_of_the_file(slug):
    "In the order of the table: mean and range of each way, then the effect."
    html = SECTIONS[slug][1].outputs[0].data["text/html"]
    lines = re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', html)
    rows = rows_of(slug)
    assert [head for head, _ in lines] == [f"{row['input']}, {row['draws']}" for row in rows]
    for (_, line), row in zip(lines, rows, strict=True):
        shown = re.findall(r"<td>(-?[\d.]+)(?:<br><small>(-?[\d.]+) to (-?[\d.]+)</small>)?", line)
        ways = [way for way in WAYS if not np.isnan(row[way])]
        assert len(shown) == len(ways)
        for numbers, way in zip(shown, ways, strict=True):
            for number, end in zip(numbers, ("", "_low", "_high"), strict=True):
                close = 0.5 if "." not in number else 0.0051
                assert not number or abs(float(number) - row[way + end]) <= close, (way, number)
        digits = 0 if abs(row["effect"]) >= 10 else 2
        assert f"{row['input']} {round(row['effect'], digits) + 0.0:+.{digits}f}" in html


def test_the_chapter_shows_its_own_numbers_beside():
    "But for the chapter that defines `report_pitfall` itself."
    for slug, (check, shown) in SECTIONS.items():
        for output in check.outputs:
            said = output.get("data", {}).get("application/vnd.cxr-tutorial.pitfall+json")
            if said and slug != "unseeded-run":
                html = shown.outputs[0].data["text/html"]
                assert said["wrong way"].split("'")[0].split("<")[0] in html, slug


def test_as_many_draws_as_are_claimed():
    counts = DRAWS.groupby(KEY).size()
    assert len(counts) == len(EVIDENCE)
    for row in EVIDENCE.itertuples():
        assert counts[row.pitfall, row.name, row.input] == row.draws
        assert row.draws >= 20, (row.pitfall, row.name)
    asked = EVIDENCE[EVIDENCE.input != "network"].groupby("pitfall").draws.min()
    assert set(asked.index) == set(SECTIONS)


def test_the_summary_is_that_of_the_draws():
    draws = {key: part for key, part in DRAWS.groupby(KEY)}
    for row in EVIDENCE.to_dict("records"):
        own = draws[tuple(row[name] for name in KEY)]
        for way in WAYS:
            if own[way].isna().all():
                assert np.isnan(row[way])
                continue
            assert row[way] == pytest.approx(own[way].mean(), abs=1e-3)
            assert row[f"{way}_low"] - 1e-3 <= row[way] <= row[f"{way}_high"] + 1e-3
            if not own[way].isin([0, 1]).all():  # of yes and no there is a Wilson interval
                ends = own[way].quantile([0.025, 0.975])
                found = [row[f"{way}_low"], row[f"{way}_high"]]
                assert found == pytest.approx(list(ends), abs=1e-3)
        other = own.right if row["kind"] == "cost" else own.wrong_true
        assert row["effect"] == pytest.approx((own.wrong - other).mean(), abs=1e-3)


def test_the_table_for_people_has_each_row():
    text = course_file("benchmarks/real_pitfalls.md").read_text("utf-8")
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line[:2] == "| "][1:]
    assert [tuple(row[:3]) for row in rows] == list(
        EVIDENCE[KEY].itertuples(index=False, name=None)
    )
    method = json.loads(course_file("benchmarks/real_pitfalls.json").read_text("utf-8"))["method"]
    assert method in text and "95 %" in method
