"""What `check_study` says of two studies on real X-rays that differ in their split alone.

    python benchmarks/check_real.py path/to/chest_xray/train

Six hundred images of children with several images each are drawn; one study divides images, the
other patients. Both train a head on the frozen backbone of the course, choose a threshold on
validation images, and are checked with all there is: split, images, transforms, model, predictions
and what was reported. Reads the images in place; writes check_real.json beside this file: counts,
numbers and findings, without names of files or patients.
"""

import argparse
import re
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from torch import nn

from cxr_tutorial.datasets import read_folder
from cxr_tutorial.files.atomic import write_json
from cxr_tutorial.metrics import choose_threshold
from cxr_tutorial.models import preprocessing
from cxr_tutorial.splits import split_by_patient
from cxr_tutorial.statistics.delong import auroc_delong
from cxr_tutorial.study.check import check_study
from cxr_tutorial.study.checklists import fill_checklists
from cxr_tutorial.study.checks import RANKS
from cxr_tutorial.study.study import predict_table, train_model
from cxr_tutorial.transforms import training_transform

HERE = Path(__file__).parent
IMAGES = 600


def drawn(cohort: pd.DataFrame, seed: int) -> pd.DataFrame:
    "About six hundred images: all images of patients drawn at random, those with several first."
    rng = np.random.default_rng(seed)
    images = cohort.groupby("patient_id").size()
    several, single = images.index[images > 1], images.index[images == 1]
    order = [*rng.permutation(several)[:150], *rng.permutation(single)]
    number = int((images[order].cumsum() <= IMAGES).sum())
    return cohort[cohort.patient_id.isin(order[:number])].reset_index(drop=True)


def divided(cohort: pd.DataFrame, way: str, seed: int) -> pd.DataFrame:
    "The cohort with a split, by patient or by image."
    if way == "right":
        return split_by_patient(cohort, seed=seed, test_seed=seed)
    parts = np.random.default_rng([seed, 1]).choice(
        ["train", "val", "test"], len(cohort), p=[0.6, 0.2, 0.2]
    )
    return cohort.assign(split=parts)


def checked(cohort: pd.DataFrame, size: int) -> dict:
    "Train, predict and check one study."
    model, _ = train_model(cohort, size=size)
    val, test = (predict_table(model, cohort[cohort.split == part]) for part in ("val", "test"))
    threshold = choose_threshold(val.label, val.probability)
    auroc = auroc_delong(test.label, test.probability, test.patient_id)
    reported = {"auroc": auroc["auroc"], "auroc_ci": [auroc["low"], auroc["high"]]}
    mean, std = model.config["mean"], model.config["std"]
    start = time.perf_counter()
    table = check_study(
        split=cohort,
        images=cohort,
        train_transform=training_transform(size, mean, std),
        evaluation_transform=preprocessing(model),
        model=model,
        validation=val,
        test=test,
        threshold=threshold,
        threshold_from="validation, Youden",
        reported=reported,
        loss=nn.BCEWithLogitsLoss(),
    )
    seconds = round(time.perf_counter() - start, 1)
    found = table[table["level"].isin(["stop", "look", "note"])]
    rows = found[["kind", "level", "finding", "evidence"]].to_dict("records")
    for row in rows:  # numbers stay, names go
        row["evidence"] = re.sub(r",? (for example|such as) [^;]*", "", row["evidence"])
    lists = fill_checklists(table).groupby("checklist").filled.sum().to_dict()
    counts = {level: int((table["level"] == level).sum()) for level in RANKS}
    return {
        "auroc": auroc,
        "counts": counts,
        "found": rows,
        "checklists": {name: int(number) for name, number in lists.items()},
        "images": {part: int((cohort.split == part).sum()) for part in ("train", "val", "test")},
        "patients": int(cohort.patient_id.nunique()),
        "seconds": seconds,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="holds NORMAL and PNEUMONIA")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--size", type=int, default=224)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    everyone, studies = read_folder(arguments.folder, on_problem="skip"), []
    for seed in range(arguments.seeds):
        some = drawn(everyone, seed)
        for way in ("wrong", "right"):
            result = checked(divided(some, way, seed), arguments.size)
            studies.append({"seed": seed, "way": way, **result})
            kinds = [f"{row['level']} {row['kind']}" for row in result["found"]]
            print(seed, way, result["counts"], *kinds, sep="\n  ", flush=True)
    write_json({"size": arguments.size, "studies": studies}, HERE / "check_real.json")
