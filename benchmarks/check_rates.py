"""How often the checks of `cxr-tutorial check` miss a fault, and how often they cry wolf.

For each check twenty studies with its fault and twenty without: `made_up`, `study`,
`without_fault` and `with_fault` of the notebooks of the checks make them. For code, wrong cells of
the course are read alone, with the statements of the chapter that they need, and between right
ones. Writes check_rates.json and check_rates.md beside this file; takes about ten minutes on one
core:

    python benchmarks/check_rates.py

The checks were tuned with the seeds from 0 to 19. `--first-seed 1000` takes others, and writes
check_rates_fresh.json and check_rates_fresh.md. No check may be changed because of what is there:
whoever does takes new seeds.
"""

import argparse
import ast
import importlib
import json
import re
import tempfile
import time
import warnings
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
from robust_cells import needed, read_chapter
from torch import nn

from cxr_tutorial.files.atomic import atomic_path, write_json
from cxr_tutorial.generalisation import wilson_interval
from cxr_tutorial.study.checks import Material, study_table
from cxr_tutorial.study.checks_code import CODE_CHECKS
from cxr_tutorial.study.checks_model import MODEL_CHECKS
from cxr_tutorial.study.checks_predictions import PREDICTION_CHECKS
from cxr_tutorial.study.checks_source import read_code
from cxr_tutorial.study.checks_tables import TABLE_CHECKS
from cxr_tutorial.study.checks_transforms import TRANSFORM_CHECKS

HERE = Path(__file__).parent
NBS = HERE.parent / "nbs"
SEEDS = 20
LABEL = re.compile(r"^#\|\s*label:\s*(wrong|right|check)-([a-z0-9-]+)", re.M)
GRAVE = ("stop", "look")
ANY = ("stop", "look", "note")


def examples(room: str) -> dict:
    "Functions and classes of the example cells of a notebook, and what its module holds."
    names = dict(vars(importlib.import_module(f"cxr_tutorial.study.{room}")))
    for cell in nbformat.read(NBS / "study" / f"{room}.ipynb", 4).cells:
        if cell.cell_type == "code" and not cell.source.startswith(("#| export", "#| default")):
            tree = ast.parse(cell.source)
            kept = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)
            tree.body = [node for node in tree.body if isinstance(node, kept)]
            exec(compile(tree, f"{room}.ipynb", "exec"), names)
    return names


def level_of(check, given: dict) -> str:
    "The gravest level of a check of what is given."
    cohort = given.get("split")
    return study_table([check], Material(cohort, given=given))["level"][0]


def count(group: str, check, wrong, right, seeds: range) -> dict:
    "A check on twenty studies with its fault and twenty without; `wrong` and `right` take a seed."
    counted = GRAVE if check.level != "note" else ANY
    row = {"group": group, "check": check.kind, "level": check.level, "seeds": len(seeds)}
    for way, make in (("wrong", wrong), ("right", right)):
        levels = [level_of(check, make(seed)) for seed in seeds]
        row[f"{way}_found"] = sum(level in counted for level in levels)
        row[f"{way}_unchecked"] = levels.count("unchecked")
    print(f"{check.kind}: {row['wrong_found']} found, {row['right_found']} alarms", flush=True)
    return row


def elsewhere(table: pd.DataFrame) -> pd.DataFrame:
    "The same patients, those of the test from another hospital and later."
    test = table.split == "test"
    return table.assign(
        site=np.where(test, "west", table.site),
        study_day=np.where(test, 900, 0) + table.index % 300,
    )


def of_tables(seeds: range) -> list[dict]:
    "Checks of the split table."
    made, rows = examples("checks_tables"), []
    for check in TABLE_CHECKS:
        noted = check.kind in ("no-external-test", "same-time")  # the usual table has this fault

        def wrong(seed, kind=check.kind):
            table = made["with_fault"](kind, seed)
            return {"split": table.assign(study_day=table.index % 300)}

        def right(seed, noted=noted):
            table = made["made_up"](seed)
            return {"split": elsewhere(table) if noted else table}

        rows.append(count("split table", check, wrong, right, seeds))
    return rows


def of_predictions(seeds: range) -> list[dict]:
    "Checks of predictions."
    made, rows = examples("checks_predictions"), []
    for check in PREDICTION_CHECKS:

        def wrong(seed, kind=check.kind):
            return made["with_fault"](kind, seed)

        def right(seed, kind=check.kind):
            given = made["study"](seed)
            if kind == "left-out":  # it compares with a split
                given["split"] = pd.DataFrame({"split": "test", **given["test"][["patient_id"]]})
            return given

        rows.append(count("predictions", check, wrong, right, seeds))
    return rows


def of_objects(group: str, room: str, checks: tuple, given: dict, seeds: range) -> list[dict]:
    "Checks of transforms or of a model."
    made, rows = examples(room), []
    made.update(given)
    for check in checks:

        def wrong(seed, kind=check.kind):
            return made["with_fault"](kind, seed)

        rows.append(count(group, check, wrong, made["without_fault"], seeds))
    return rows


def course_cells() -> dict[tuple[str, str], str]:
    "All wrong and right cells: (pitfall, way) and the code."
    found = {}
    for file in sorted((NBS / "course").glob("*.ipynb")):
        for cell in nbformat.read(file, 4).cells:
            label = LABEL.search(cell.source) if cell.cell_type == "code" else None
            if label and label[1] != "check":
                found[label[2], label[1]] = cell.source
    return found


def hits_of(source: str) -> set[str]:
    "Kinds of the checks that find something in a piece of code."
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "script.py")
        file.write_text(source, encoding="utf-8")
        table = study_table(CODE_CHECKS, Material(None, given={"code": read_code(file)}))
    return set(table.kind[table["level"].isin(ANY)])


def with_needs(way: str) -> dict[str, str]:
    "All wrong cells, or all right ones, with the statements of their chapter that they need."
    found = {}
    for file in sorted((NBS / "course").glob("*.ipynb")):
        chapter = read_chapter(file)
        for slug in chapter.pitfalls:
            units = [chapter.units[number] for number in needed(chapter, slug)]
            kept = [one for one in units if not one.slug or (one.slug, one.way) == (slug, way)]
            found[slug] = "\n".join(ast.unparse(ast.Module(one.tree, [])) for one in kept)
    return found


def of_code(seeds: range) -> dict:
    "Each wrong cell alone, with its needs, and between four right ones; and each right one."
    cells, pitfalls = course_cells(), []
    slugs = sorted({slug for slug, _ in cells})
    found = {key: hits_of(source) - {"code-no-interval"} for key, source in cells.items()}
    right = [slug for slug in slugs if (slug, "right") in cells]
    expected = {slug: found[slug, "wrong"] - found.get((slug, "right"), set()) for slug in slugs}
    whole = {w: {s: hits_of(c) for s, c in with_needs(w).items()} for w in ("wrong", "right")}
    by_check = {check.kind: [0, 0, 0, 0] for check in CODE_CHECKS}  # seen, of, alarms, of
    for slug in slugs:
        seen = 0
        for seed in seeds:
            rng = np.random.default_rng([seed, slugs.index(slug)])
            others = rng.choice([one for one in right if one != slug], 4, replace=False)
            parts = [cells[one, "right"] for one in others]
            alarms = hits_of("\n".join(parts))
            parts.insert(int(rng.integers(5)), cells[slug, "wrong"])
            told = hits_of("\n".join(parts))
            seen += bool(expected[slug] & told)
            for kind, counts in by_check.items():
                if kind in expected[slug]:
                    counts[0], counts[1] = counts[0] + (kind in told), counts[1] + 1
                counts[2], counts[3] = counts[2] + (kind in alarms), counts[3] + 1
        row = {"pitfall": slug, "alone": sorted(expected[slug]), "among_right": seen}
        only, both = whole["wrong"][slug], whole["right"][slug]
        row |= {"with_needs": sorted(only - both), "right_with_needs": sorted(both - only)}
        row |= {"both_with_needs": sorted(only & both)}
        pitfalls.append(row | {"right_alarms": sorted(found.get((slug, "right"), set()))})
        print(f"{slug}: {', '.join(expected[slug]) or 'not seen'}; among others {seen}", flush=True)
    names = ("wrong_found", "wrong_of", "right_found", "right_of")
    rows = [{"check": kind, **dict(zip(names, c, strict=True))} for kind, c in by_check.items()]
    return {"pitfalls": pitfalls, "checks": rows}


def of_notebooks(seeds: range) -> dict:
    "Which checks of code fire on the chapters, wrong and check cells taken out; without seeds."
    alarms = {}
    for file in sorted((NBS / "course").glob("*.ipynb")):
        parts = []
        for cell in nbformat.read(file, 4).cells:
            label = LABEL.search(cell.source) if cell.cell_type == "code" else None
            if cell.cell_type == "code" and (label is None or label[1] == "right"):
                lines = cell.source.splitlines()
                parts.append("\n".join(line for line in lines if not line.startswith(("%", "!"))))
        alarms[file.stem] = sorted(hits_of("\n".join(parts)))
    return alarms


def interval(found: int, of: int) -> str:
    "A rate with its interval (Wilson), in words."
    low, high = wilson_interval(found / of, of)
    return f"{found} of {of} ({low:.0%} to {high:.0%})"


def as_text(result: dict) -> str:
    "The tables as Markdown."
    lines = ["# Alarms and misses of the checks", ""]
    lines += ["| part | check | missed with the fault | alarms without |", "|---|---|---|---|"]
    for group in ("tables", "predictions", "transforms", "models"):
        for row in result[group]["rows"]:
            missed = interval(row["seeds"] - row["wrong_found"], row["seeds"])
            cells = (group, row["check"], missed, interval(row["right_found"], row["seeds"]))
            lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "| wrong cell | seen alone by | with what it needs by | among four right cells |"]
    lines += ["|---|---|---|---|"]
    for row in result["pitfalls"]["rows"]["pitfalls"]:
        among = interval(row["among_right"], SEEDS) if row["alone"] else "-"
        seen = [", ".join(row[way]) or "nothing" for way in ("alone", "with_needs")]
        lines.append(f"| {' | '.join((row['pitfall'], *seen, among))} |")
    return "\n".join([*lines, ""])


def of_models(seeds: range) -> list[dict]:
    "Checks of a network."
    return of_objects(
        "model", "checks_model", MODEL_CHECKS, {"logits": nn.BCEWithLogitsLoss()}, seeds
    )


def of_transforms(seeds: range) -> list[dict]:
    "Checks of transforms."
    return of_objects("transforms", "checks_transforms", TRANSFORM_CHECKS, {}, seeds)


GROUPS = {
    "tables": of_tables,
    "predictions": of_predictions,
    "transforms": of_transforms,
    "models": of_models,
    "pitfalls": of_code,
    "notebooks": of_notebooks,
}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("groups", nargs="*", help=f"all when none is named: {', '.join(GROUPS)}")
    parser.add_argument("--first-seed", type=int, default=0, help="of twenty (%(default)s)")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    seeds = range(options.first_seed, options.first_seed + SEEDS)
    stem = "check_rates_fresh" if options.first_seed else "check_rates"
    file = HERE / f"{stem}.json"
    result = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    for name in options.groups or GROUPS:
        start, made = time.perf_counter(), GROUPS[name](seeds)
        made = json.loads(json.dumps(made, default=int))
        taken = round(time.perf_counter() - start)
        result[name] = {"seconds": taken, "first_seed": seeds[0], "rows": made}
        write_json(result, file)
    if set(result) == set(GROUPS):
        with atomic_path(HERE / f"{stem}.md") as partial:
            partial.write_text(as_text(result), encoding="utf-8")
