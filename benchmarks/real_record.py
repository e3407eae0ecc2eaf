"""The list of questions that are asked of real X-rays, and what their answers look like in a file.

A question is asked many times (draws), each time of other children. A draw gives up to four
numbers: what the wrong way reports, what is true of it, what the right way reports, and what is
true of that. All draws are kept in `real_pitfalls.csv`; `real_pitfalls.json` says the mean over
the draws and the range that holds 95 % of them, `real_pitfalls.md` is a table for people.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

WAYS = ("wrong", "wrong_true", "right", "right_true")
KEY = ["pitfall", "name", "input"]
FILE = Path(__file__).with_name("real_pitfalls.csv")
METHOD = (
    "low and high: the range that holds 95 % of the draws (percentiles), for shares of yes and no "
    "a Wilson interval. effect: wrong minus what is true of it, or minus right where each way is "
    "measured on held-back children (cost); mean of the draws with the 95 % t interval of the "
    "mean. Each draw takes other children; all draws come from the same 3,654, so no interval "
    "speaks of another hospital."
)


@dataclass
class Question:
    "What is asked of a pitfall, and the function that answers it for one draw."

    pitfall: str
    name: str  # a few words; with pitfall and input the key in the files
    text: str  # what is asked of whom, and what is true
    measure: str
    draws: int
    inputs: tuple[str, ...]  # "thumbnails", "features", "network", or "rule"
    large: str  # when the effect would be larger, or smaller
    ask: Callable  # (data, input, draw) -> {"wrong": ..., "right": ..., ...}


QUESTIONS: list[Question] = []
BOTH = ("thumbnails", "features")


def question(pitfall, name, text, large, measure="AUROC", draws=40, inputs=BOTH):
    "Put a function on the list."

    def add(ask):
        QUESTIONS.append(Question(pitfall, name, text, measure, draws, inputs, large, ask))
        return ask

    return add


def read_draws() -> pd.DataFrame:
    "All draws that are stored."
    columns = [*KEY, "draw", *WAYS]
    return pd.read_csv(FILE) if FILE.exists() else pd.DataFrame(columns=columns)


def store(asked: Question, kind: str, rows: list[dict]) -> None:
    "Put the draws of a question and an input in the place of older ones."
    old, key = read_draws(), (asked.pitfall, asked.name, kind)
    new = pd.DataFrame(rows, columns=list(WAYS)).astype(float).round(4)
    new.insert(0, "draw", range(len(new)))
    for column, value in zip(reversed(KEY), reversed(key), strict=True):
        new.insert(0, column, value)
    kept = old[(old[KEY] != key).any(axis=1)]
    order = {(q.pitfall, q.name, i): n for n, (q, i) in enumerate(every_question())}
    table = pd.concat([kept, new]) if len(kept) else new
    known = [tuple(row) in order for row in table[KEY].to_numpy()]
    table = table[known]
    place = [order[tuple(row)] for row in table[KEY].to_numpy()]
    table.iloc[np.lexsort([table.draw, place])].to_csv(FILE, index=False)


def every_question():
    "Each question with each of its inputs, in the order of the course."
    for one in QUESTIONS:
        for kind in one.inputs:
            yield one, kind


def summary(values) -> list[float] | None:
    "Mean, and the range that holds 95 % of the draws; of yes and no a share with its interval."
    values = np.asarray(values, float)
    if np.isnan(values).all():
        return None
    if np.isin(values, (0, 1)).all() and 0 < values.mean() < 1:
        interval = stats.binomtest(int(values.sum()), len(values)).proportion_ci(method="wilson")
        return [round(float(v), 4) for v in (values.mean(), interval.low, interval.high)]
    low, high = np.quantile(values, [0.025, 0.975])
    return [round(float(v), 4) for v in (values.mean(), low, high)]


def mean_with_interval(values) -> list[float]:
    "Mean and its 95 % interval (Student's t)."
    values = np.asarray(values, float)
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return [round(float(values.mean() + k * half), 4) for k in (0, -1, 1)]


def row_of(asked: Question, kind: str, draws: pd.DataFrame) -> dict:
    "What the JSON says of a question and an input."
    row = {"pitfall": asked.pitfall, "name": asked.name, "input": kind, "measure": asked.measure}
    row |= {"draws": len(draws)} | {way: summary(draws[way]) for way in WAYS}
    cost = row["wrong_true"] is None
    other = draws.right if cost else draws.wrong_true
    row |= {"kind": "cost" if cost else "report"}
    row |= {"effect": mean_with_interval(draws.wrong - other)}
    return row | {"question": asked.text, "large": asked.large}


def write() -> dict:
    "The JSON and the table, from the draws that are stored."
    draws = {key: part for key, part in read_draws().groupby(KEY)}
    rows = []
    for asked, kind in every_question():
        if (key := (asked.pitfall, asked.name, kind)) in draws:
            rows.append(row_of(asked, kind, draws[key]))
    answers = {"method": METHOD}
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    head = json.dumps(answers, ensure_ascii=False, indent=1)[:-2]
    text = head + ',\n "rows": [\n  ' + ",\n  ".join(lines) + "\n ]\n}\n"
    FILE.with_suffix(".json").write_text(text, encoding="utf-8")
    FILE.with_suffix(".md").write_text(table_for_people(rows), encoding="utf-8")
    return json.loads(text)


def words(numbers: list[float] | None) -> str:
    "0.73 (0.67 to 0.78)"
    if numbers is None:
        return "-"
    digits = 2 if max(map(abs, numbers)) < 10 else 0
    mean, low, high = (f"{n:.{digits}f}" for n in numbers)
    return mean if low == high else f"{mean} ({low} to {high})"


def table_for_people(rows: list[dict]) -> str:
    "A row for each question and input, then the method."
    heads = ["pitfall", "question", "input", "measure", "draws", *WAYS, "effect"]
    lines = ["| " + " | ".join(heads).replace("_", ", ") + " |", "|" + "---|" * len(heads)]
    for row in rows:
        cells = [row[k] for k in ("pitfall", "name", "input", "measure", "draws")]
        cells += [words(row[way]) for way in (*WAYS, "effect")]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    lines += ["", METHOD]
    return "\n".join(lines).rstrip() + "\n"
