"""Do the pitfalls hold for other seeds and other patients?

    python benchmarks/robust.py [--only SLUG ...] [--draws 20] [--cohorts 3]

A check of a pitfall is a claim about cohorts, not about the seeds that stand in its chapter. This
script runs the three cells of each pitfall again and again, each time with fresh seeds, on fresh
simulated cohorts, and writes each claim of each check with the number found: `robust.csv`. The
table made from it is `robust.md`; the page dev/robust shows it.

A run that was stopped goes on where it was; what belongs to code that has changed is done again.
`--unseen` draws what was not at hand when bounds were set: draws from 21 on, three further cohorts.
Draw 0 of cohort 0 is the chapter as it stands. `--repeat-stored` shows whether it comes out as it
is stored.
"""

import argparse
import ast
import copy
import gc
import importlib
import json
import operator
import os
import random
import re
import shutil
import tempfile
import time
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from unittest.mock import patch

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before PyTorch is imported

import matplotlib.pyplot
import numpy as np
import pandas as pd
import torch
from robust_cells import Chapter, code_of, needed, read_chapter

from cxr_tutorial import environment, splits
from cxr_tutorial.files.atomic import atomic_path, write_csv
from cxr_tutorial.generalisation import wilson_interval
from cxr_tutorial.parallel.processes import progress
from cxr_tutorial.phantom import cohort as phantom

HERE = Path(__file__).resolve().parent
COURSE = HERE.parent / "nbs" / "course"
COLUMNS = ["pitfall", "cohort", "draw", "claim", "value", "bound", "holds", "wrong", "right"]
COLUMNS += ["seconds", "code"]


# --- Other seeds, other patients ----------------------------------------------------------------


@contextmanager
def fresh(cohort: int, draw: int):
    """Whatever takes a seed draws something else, as if all seeds had been others; `cohort` for
    the simulated cohorts, `draw` for everything else. 0 and 0 changes nothing."""
    now, offset = {"shift": draw}, 1_000_003
    make, write, lots = np.random.default_rng, phantom.write_cohort, splits.draw_lots

    def moved(seed):
        return seed + offset * now["shift"] if isinstance(seed, int | np.integer) else seed

    def default_rng(seed=None):
        if now["shift"] and isinstance(seed, int | np.integer):
            seed = [seed]
        if now["shift"] and isinstance(seed, list | tuple | np.ndarray):
            seed = [*seed, offset * now["shift"]]
        return make(seed)

    class RandomState(np.random.RandomState):  # of scikit-learn and pandas
        def __init__(self, seed=None):
            super().__init__(moved(seed))

    class Generator(torch.Generator):
        def manual_seed(self, seed):
            super().manual_seed(moved(seed))
            return self

    def write_cohort(folder, settings=None, workers=None, **changes):
        now["shift"] = cohort
        try:
            return write(folder, settings, workers=1, **changes)  # in this process
        finally:
            now["shift"] = draw

    def seeding(function):
        return lambda seed=None: function(moved(seed))

    with (
        patch.object(np.random, "default_rng", default_rng),
        patch.object(np.random, "RandomState", RandomState),
        patch.object(np.random, "seed", seeding(np.random.seed)),
        patch.object(random, "seed", seeding(random.seed)),
        patch.object(torch, "manual_seed", seeding(torch.manual_seed)),
        patch.object(torch, "Generator", Generator),
        patch.object(phantom, "write_cohort", write_cohort),
        patch.object(splits, "draw_lots", lambda ids, seed=0: lots(ids, _lots_seed(seed, draw))),
    ):
        yield


def _lots_seed(seed, draw: int):
    return f"{seed}/{draw}" if draw else seed


# --- Claims of a check --------------------------------------------------------------------------

SIGNS = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}
COMPARE = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


def _parts(test) -> tuple[list, list[str]]:
    "`0.5 < a < b` as its three expressions and its two signs; anything else is one expression."
    if isinstance(test, ast.Compare) and all(type(o) in SIGNS for o in test.ops):
        return [test.left, *test.comparators], [SIGNS[type(o)] for o in test.ops]
    return [test], []


def _named(texts: list[str], signs: list[str]) -> list[str]:
    "The claims of one assertion, as the table names them."
    if not signs:
        return texts
    return [f"{texts[n]} {sign} {texts[n + 1]}" for n, sign in enumerate(signs)]


class _Claims(ast.NodeTransformer):
    "`assert a < b, text` becomes `_claim(...)`: a failure is noted, and the check goes on."

    def visit_Assert(self, node):
        parts, signs = _parts(node.test)
        names = ast.Constant(tuple(ast.unparse(part) for part in parts))
        values = ast.Tuple(parts, ast.Load())
        called = ast.Name("_claim", ast.Load())
        call = ast.Call(called, [names, values, ast.Constant(tuple(signs))], [])
        return ast.copy_location(ast.Expr(call), node)


def claims_of(chapter: Chapter, slug: str) -> dict[str, str]:
    "What a check asserts: each claim, and what its message says was expected."
    check = next(u for u in chapter.units if u.slug == slug and u.way == "check")
    found = {}
    for node in ast.walk(ast.Module(check.tree, [])):
        if isinstance(node, ast.Assert):
            parts, signs = _parts(node.test)
            says = _expected(node.msg) or ast.unparse(node.test)
            found |= dict.fromkeys(_named([ast.unparse(part) for part in parts], signs), says)
    return found


def _expected(message) -> str:
    "The beginning of an assertion's message, up to what was found."
    pieces = message.values if isinstance(message, ast.JoinedStr) else [message]
    text = "".join(p.value if isinstance(p, ast.Constant) else "#" for p in pieces if p)
    return re.sub(r"[,:]?( found| found it)?[\s,:]*$", "", text.split("#")[0])


def _number(value) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def _noting(rows: list):
    "The function that a check calls in place of an assertion."

    def claim(texts, values, signs) -> None:
        for number, name in enumerate(_named(list(texts), signs)):
            value, bound = (*values, None)[number : number + 2]
            holds = COMPARE[signs[number]](value, bound) if signs else value
            numbers = {"value": _number(value), "bound": _number(bound)}
            rows.append({"claim": name, **numbers, "holds": bool(holds)})

    return claim


# --- Running ------------------------------------------------------------------------------------


def _execute(tree: list, number: int, namespace: dict) -> None:
    "Run the statements of a cell; what they print and draw is not shown."
    code = compile(ast.fix_missing_locations(ast.Module(tree, [])), f"<cell {number}>", "exec")
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        exec(code, namespace)
    matplotlib.pyplot.close("all")


def _run_units(chapter: Chapter, numbers: list[int]) -> tuple[list, dict, dict]:
    "Run statements in their order: the claims of each check, seconds, and errors by statement."
    rows, claims, seconds, errors = [], [], {}, {}
    module = importlib.import_module(f"cxr_tutorial.{chapter.module}")
    namespace = {**vars(module), "__name__": "__main__", "_claim": _noting(claims)}
    for number in numbers:
        unit, start = chapter.units[number], time.perf_counter()
        tree = copy.deepcopy(unit.tree)
        try:
            _execute([_Claims().visit(node) for node in tree], unit.cell, namespace)
        except Exception as error:  # whoever needs this statement gets a row that says so
            errors[number] = f"cell {unit.cell}: {type(error).__name__}: {error}"
        seconds[number] = time.perf_counter() - start
        rows += [{"pitfall": unit.slug, **claim} for claim in claims]
        claims.clear()
    return rows, seconds, errors


def run_chapter(chapter: Chapter, slugs: list[str], cohort: int, draw: int) -> list[dict]:
    "The claims of some pitfalls of a chapter for one draw. What they share is run once."
    parts, said = {slug: needed(chapter, slug) for slug in slugs}, {}

    def report_pitfall(name, wrong, right, truth):
        said[name] = {"wrong": wrong, "right": right}

    with fresh(cohort, draw), patch.object(environment, "report_pitfall", report_pitfall):
        everything = sorted(set().union(*parts.values()))
        rows, seconds, errors = _run_units(chapter, everything)
    for slug, numbers in parts.items():
        broken = [errors[number] for number in numbers if number in errors]
        rows += [{"pitfall": slug, "claim": text, "holds": False} for text in broken[:1]]
        took = round(sum(seconds[number] for number in numbers), 1)
        same = {"cohort": cohort, "draw": draw, "seconds": took, "code": code_of(chapter, slug)}
        for row in rows:
            if row["pitfall"] == slug:
                row |= same | said.get(slug, {})
    gc.collect()
    return rows


@contextmanager
def cohort_cache(folder: Path, cohort: int):
    "Simulated patients and features of one cohort lie in a folder of their own."
    with patch.dict(os.environ, {"CXR_CACHE": str(folder / f"cohort_{cohort}")}):
        os.environ.pop("CXR_DATA", None)
        yield


def kept_rows(file: Path, chapters: list[Chapter]) -> pd.DataFrame:
    "What was found before, without what belongs to code that has changed."
    if not file.exists():
        return pd.DataFrame(columns=COLUMNS)
    rows = pd.read_csv(file, dtype={"code": str})
    today = {slug: code_of(chapter, slug) for chapter in chapters for slug in chapter.pitfalls}
    return rows[rows.code == rows.pitfall.map(today)]


AT_HAND = (20, 3)  # draws and cohorts up to these may have been seen when bounds were set
LONGER = {"no-external-test": (34, 6)}  # its other hospital was chosen with these at hand


def missing(
    rows: pd.DataFrame, chapters: list[Chapter], wanted, draws: int, cohorts: int, after=(0, 0)
) -> list:
    "What has not been run yet: chapter, pitfalls, cohort, draw. Each pitfall once, then again."
    done, tasks = set(zip(rows.pitfall, rows.cohort, rows.draw, strict=True)), []
    seen = {slug: after if after == (0, 0) else at_hand for slug, at_hand in LONGER.items()}
    for number in range(draws):
        for chapter in chapters:
            together = {}
            for slug in chapter.pitfalls:
                draw, cohort = seen.get(slug, after)
                key = (slug, cohort + number % cohorts + 1, draw + number + 1)
                if (not wanted or slug in wanted) and key not in done:
                    together.setdefault(key[1:], []).append(slug)
            tasks += [(chapter, slugs, *numbers) for numbers, slugs in together.items()]
    return tasks


def measure(rows: pd.DataFrame, tasks: list, file: Path, cache: Path) -> pd.DataFrame:
    "Run tasks; after each of them the file is complete."
    for chapter, slugs, cohort, draw in progress(tasks, "draws", "chapter", leave=True):
        with cohort_cache(cache, cohort):
            new = pd.DataFrame(run_chapter(chapter, slugs, cohort, draw))
        new = new.reindex(columns=COLUMNS)
        rows = pd.concat([rows, new], ignore_index=True) if len(rows) else new
        write_csv(rows, file)
    return rows


# --- The table ---------------------------------------------------------------------------------


def first_number(text: str) -> float:
    "The number that a report begins with; per cent as a share."
    found = re.search(r"[-+]?\d+(?:\.\d+)?\s?%?", str(text))
    if not found:
        return float("nan")
    value = float(found[0].strip(" %"))
    return value / 100 if "%" in found[0] else value


def _spread(values: pd.Series) -> str:
    return f"{values.mean():.2f} ± {values.std(ddof=0):.2f}"


def room_of(part: pd.DataFrame) -> float:
    "How far the numbers of a claim lie from its bound on average, in SD between draws."
    beyond = part.value - part.bound
    distance = beyond.abs().where(part.holds, -beyond.abs()).mean()
    spread = beyond.std(ddof=0)
    return distance / max(spread, 1e-12)


def summary(rows: pd.DataFrame, chapters: list[Chapter]) -> pd.DataFrame:
    "A row for each pitfall, those with the least room first."
    says = {s: claims_of(c, s) for c in chapters for s in c.pitfalls}
    table = []
    for slug, part in rows[rows.draw > 0].groupby("pitfall", sort=False):
        holds = part.groupby(["cohort", "draw"]).holds.all()
        failed, n = int((~holds).sum()), len(holds)
        low, high = wilson_interval(failed / n, n)
        each = part.drop_duplicates(["cohort", "draw"])
        numeric = part[part.bound.notna() & ~part.claim.str.contains("==|!=")]
        room = {claim: room_of(own) for claim, own in numeric.groupby("claim")}
        claim = min(room, key=room.get)
        row = {"pitfall": slug, "draws": n, "failed": failed}
        row |= {"95 % interval": f"{low:.0%} to {high:.0%}"}
        row |= {way: _spread(each[way].map(first_number)) for way in ("wrong", "right")}
        row |= {"claim with the least room": says[slug].get(claim, claim)}
        shown = f"{room[claim]:.1f}" if room[claim] < 10 else "over 10"
        table.append(row | {"room in SD": shown, "order": room[claim]})
    return pd.DataFrame(table).sort_values("order", ignore_index=True).drop(columns="order")


ABOUT = """# Pitfalls with fresh seeds and fresh cohorts

`make robust` ran the three cells of each pitfall with fresh seeds on {cohorts} fresh simulated
cohorts, none of which a chapter shows. A draw has failed if one claim of the check did not hold.
*wrong*, *right*: the first number of what each way reports, mean and standard deviation (SD) over
draws. *Room*: the distance between the numbers of a claim and its bound, mean over SD, for the
claim that has the least; at 2, about one draw in fifty would fail.
"""


def write_table(rows: pd.DataFrame, chapters: list[Chapter], file: Path) -> None:
    "The table in Markdown."
    table = summary(rows, chapters)
    lines = [ABOUT.format(cohorts=rows[rows.draw > 0].cohort.nunique())]
    lines += ["| " + " | ".join(table.columns) + " |", "|" + "---|" * table.shape[1]]
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in table.itertuples(index=False)]
    with atomic_path(file) as partial:
        partial.write_text("\n".join(lines) + "\n", encoding="utf-8")


def repeat_stored(chapters: list[Chapter], wanted, cache: Path) -> pd.DataFrame:
    "Draw 0 beside the stored outputs: does the slice of a chapter give what the chapter gives?"
    found = []
    for chapter in progress(chapters, "as stored", "chapter"):
        slugs = [s for s in chapter.pitfalls if not wanted or s in wanted]
        with cohort_cache(cache, 0):
            rows = pd.DataFrame(run_chapter(chapter, slugs, 0, 0)) if slugs else pd.DataFrame()
        for slug in slugs:
            own = rows[rows.pitfall == slug]
            stored, now = chapter.stored.get(slug, {}), own.iloc[0]
            row = {"pitfall": slug, "seconds": now.seconds, "holds": own.holds.all()}
            row["stored"] = f"{stored.get('wrong way')} | {stored.get('right way')}"
            row["now"] = f"{now.get('wrong')} | {now.get('right')}"
            row["claims"] = "; ".join(own.claim[~own.holds])
            found.append(row | {"same": row["now"] == row["stored"]})
            print(json.dumps(found[-1], default=str), flush=True)
    return pd.DataFrame(found)


def read_chapters() -> list[Chapter]:
    "The chapters that hold a pitfall."
    chapters = [read_chapter(file) for file in sorted(COURSE.glob("*.ipynb"))]
    return [chapter for chapter in chapters if chapter.pitfalls]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", metavar="SLUG", help="pitfalls; all if not given")
    parser.add_argument("--draws", type=int, default=20, help="of seeds (%(default)s)")
    parser.add_argument("--cohorts", type=int, default=3, help="fresh cohorts (%(default)s)")
    parser.add_argument("--out", type=Path, default=HERE, help="folder of robust.csv and robust.md")
    parser.add_argument("--unseen", action="store_true", help="draws from 21 on, other cohorts")
    parser.add_argument("--cache", type=Path, help="keep simulated cohorts in this folder")
    parser.add_argument("--repeat-stored", action="store_true", help="draw 0 beside stored outputs")
    options = parser.parse_args(arguments)
    matplotlib.use("Agg")
    torch.set_num_threads(1)
    chapters = read_chapters()
    known = {slug for chapter in chapters for slug in chapter.pitfalls}
    if unknown := set(options.only or ()) - known:
        parser.error(f"no such pitfall: {', '.join(sorted(unknown))}; there are {sorted(known)}")
    cache = options.cache or Path(tempfile.mkdtemp(prefix="robust-"))
    try:
        if options.repeat_stored:
            print(repeat_stored(chapters, options.only, cache).to_string(index=False))
            return
        file = options.out / "robust.csv"
        rows = kept_rows(file, chapters)
        after = AT_HAND if options.unseen else (0, 0)
        tasks = missing(rows, chapters, options.only, options.draws, options.cohorts, after)
        rows = measure(rows, tasks, file, cache)
        write_table(rows, chapters, options.out / "robust.md")
        print(summary(rows, chapters).to_string(index=False))
    finally:
        if not options.cache:
            shutil.rmtree(cache, ignore_errors=True)


if __name__ == "__main__":
    main()
