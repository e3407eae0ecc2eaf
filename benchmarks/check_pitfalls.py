"""Which checks of `cxr-tutorial check` see a pitfall that its code does not show?

Some pitfalls lie in patients, images or a model. For those, the statements that a chapter needs
before its wrong cell are run, and what a reader would hand in is made of what they leave: a split
table, predictions, images, a model. Each is checked twenty times, the wrong way and the right one,
with other draws. Writes check_pitfalls.json beside this file; takes a quarter of an hour on one
core:

    python benchmarks/check_pitfalls.py [SLUG ...]
"""

import argparse
import copy
import importlib
import json
import time
import warnings
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import torch
from PIL import Image, ImageDraw
from robust import _execute
from robust_cells import needed, read_chapter
from sklearn.model_selection import GroupShuffleSplit, train_test_split
from torch import nn

from cxr_tutorial.datasets import load_image
from cxr_tutorial.files.atomic import write_json
from cxr_tutorial.models import MedicalImageClassifier, freeze
from cxr_tutorial.splits import split_by_patient
from cxr_tutorial.study.check import check_study

HERE = Path(__file__).parent
COURSE = HERE.parent / "nbs" / "course"
SEEDS = 20
GRAVE = ("stop", "look", "note")


def names_before(slug: str, wanted: list) -> dict:
    "Some names as a chapter has defined them when the wrong cell of a pitfall begins."
    for file in sorted(COURSE.glob("*.ipynb")):
        chapter = read_chapter(file)
        if slug in chapter.pitfalls:
            break
    names = {"__name__": "__main__"}
    names |= vars(importlib.import_module(f"cxr_tutorial.{chapter.module}"))
    units = [chapter.units[number] for number in needed(chapter, slug)]
    kept, wanted, before = [], set(wanted), None
    while before != wanted:  # a function may need what is defined after it
        before, kept = set(wanted), []
        for unit in units:
            if not unit.slug and (unit.always or wanted & (unit.binds | unit.changes)):
                kept.append(unit)
                wanted |= unit.reads | unit.later | unit.changes
    for unit in kept:
        _execute(copy.deepcopy(unit.tree), unit.cell, names)
    return names


def parts(table: pd.DataFrame, train, test) -> pd.DataFrame:
    "A table with its split, by positions."
    split = np.full(len(table), "", dtype=object)
    split[train], split[test] = "train", "test"
    return without_files(table.assign(split=split)[split != ""])


def without_files(table: pd.DataFrame) -> pd.DataFrame:
    "A table alone: with a path, `check` would look at the images as well."
    return table.drop(columns="path")


def duplicate_images(names, way, seed):
    table, column = names["copied"], {"wrong": "patient_id", "right": "group_id"}[way]
    splitter = GroupShuffleSplit(1, test_size=0.3, random_state=seed)
    return {"split": parts(table, *next(splitter.split(table, groups=table[column])))}


def image_level_leakage(names, way, seed):
    table = names["fresh_patients"](seed)[0].reset_index(drop=True)
    if way == "right":
        return {"split": without_files(split_by_patient(table, val=0, test=0.3, test_seed=seed))}
    rows = train_test_split(np.arange(len(table)), test_size=0.3, random_state=seed)
    return {"split": parts(table, *rows)}


def no_external_test(names, way, seed):
    study = names["studies"][seed]
    train = names["here"].drop(study["internal"].index)
    test = study[{"wrong": "internal", "right": "external"}[way]].copy()
    if way == "right":  # another hospital counts its patients by itself
        test[["patient_id", "group_id"]] = "away " + test[["patient_id", "group_id"]]
    split = pd.concat([train.assign(split="train"), test.assign(split="test")])
    return {"split": without_files(split)}


def of_groups(names, kinds, counts, seed):
    "Predictions on all patients that took no part in a training with so many of each kind."
    test = pd.concat(names["study_of"](kinds, counts, seed))
    below, above = test.probability[~test.found].max(), test.probability[test.found].min()
    threshold = float(below + above) / 2  # chosen on validation patients of that training
    return {"test": test.drop(columns=["found", "kind", "path"]), "threshold": threshold}


def average_over_subgroups(names, way, seed):
    counts = names["counts"] if way == "wrong" else dict.fromkeys(names["counts"], 84)
    given = of_groups(names, names["kinds"], counts, seed)
    return given | {"test": given["test"].drop(columns=["subtype", "severity"])}


def hidden_strata(names, way, seed):
    "Read again, so that a column says which kind it is; the right way has no faint one to miss."
    kinds = names["read_again"](names["here"])
    given = of_groups(names, kinds, names["counts"], seed)
    test = given["test"].assign(subtype=names["read_again"](given["test"]))
    test = test.drop(columns="severity")
    return given | {"test": test if way == "wrong" else test[test.subtype != "faint"]}


def pooled_hospitals(names, way, seed):
    table = names["pools"][seed][{"wrong": 0, "right": 1}[way]]
    return {"test": table.assign(site=table.hospital, probability=table.score)}


def augmented_evaluation(names, way, seed):
    head, rows = names["heads"][seed % 5], names["test_rows"][seed % 5]
    runs, strength = [seed, seed + 1], {"wrong": 2.0, "right": 0.0}[way]

    def predict():
        view = names["view_of"](strength, runs.pop(0) if strength else 0)
        with torch.inference_mode():
            return torch.sigmoid(head(view[rows])[:, 0])

    return {"predict": predict}


def frozen_batchnorm(names, way, seed):
    torch.manual_seed(seed)
    if way == "right":
        return {"model": freeze(MedicalImageClassifier())}
    backbone = copy.deepcopy(names["pretrained"])
    return {"model": nn.Sequential(backbone, nn.Linear(1280, 1)).train()}


def shortcut_learning(names, way, seed):
    "The images of a hospital as files of 8 bit, with the letters; or with their place covered."
    here, images = names["here"], []
    written = names["is_portable"](here, 0.95, seed)
    for path, has_letters in zip(here.path, written, strict=True):
        image = Image.fromarray(load_image(path))
        if has_letters:
            ImageDraw.Draw(image).text((4, 4), "PORTABLE", fill=255, font=names["FONT"])
        if way == "right":
            place = (0, 0, names["COLUMNS"] - 1, names["ROWS"] - 1)
            ImageDraw.Draw(image).rectangle(place, fill=int(np.median(image)))
        images.append(np.asarray(image))
    split = split_by_patient(here, val=0.25, test=0.3, seed=seed, test_seed=seed)
    return {"split": split, "images": images}


MATERIAL = {  # what is handed in, and the names of the chapter that it is made of
    image_level_leakage: ("split table", "fresh_patients"),
    duplicate_images: ("split table", "copied"),
    no_external_test: ("split table", "studies here"),
    average_over_subgroups: ("predictions", "study_of kinds counts"),
    hidden_strata: ("predictions, read again", "study_of read_again here counts"),
    pooled_hospitals: ("predictions", "pools"),
    augmented_evaluation: ("predictions, twice", "heads test_rows view_of"),
    frozen_batchnorm: ("model", "pretrained"),
    shortcut_learning: ("images", "here is_portable FONT ROWS COLUMNS"),
}
MAKERS = {make.__name__.replace("_", "-"): make for make in MATERIAL}


def found(given: dict) -> list[str]:
    "Kinds of the checks that say something."
    table = check_study(**given)
    return table.kind[table["level"].isin(GRAVE)].unique().tolist()


def measure(slug: str) -> dict:
    "How often each check fires on the wrong way of a pitfall, and on the right one."
    start, make = time.perf_counter(), MAKERS[slug]
    given, wanted = MATERIAL[make]
    names = names_before(slug, wanted.split())
    counts = {}
    for way in ("wrong", "right"):
        told = pd.Series([kind for s in range(SEEDS) for kind in found(make(names, way, s))])
        counts[way] = {kind: int(count) for kind, count in told.value_counts().items()}
    row = {"given": given, "seeds": SEEDS, **counts}
    return row | {"seconds": round(time.perf_counter() - start)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("slugs", nargs="*", metavar="SLUG", help="all when none is named")
    warnings.simplefilter("ignore")
    matplotlib.use("Agg")
    file = HERE / "check_pitfalls.json"
    result = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    for slug in parser.parse_args().slugs or MAKERS:
        result[slug] = measure(slug)
        print(slug, json.dumps(result[slug]), flush=True)
        write_json({slug: result[slug] for slug in MAKERS if slug in result}, file)
