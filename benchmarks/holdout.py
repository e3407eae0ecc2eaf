"""What may 300 seconds buy on children who were held out?

    python benchmarks/holdout.py path/to/chest_xray/train [--tries train ...]

One child in five is held out. Each try has one or more settings, and the AUROC of the validation
children chooses among them; the held-out children are asked once for each chosen setting. All
settings, and what they cost, go into `holdout.json` and `holdout.md`, good or not. What takes long
is kept in the cache folder (`CXR_CACHE`), so a run that was stopped goes on. Asserts nothing.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from engines import processor
from real_data import aurocs, logistic
from torch import nn
from tqdm import tqdm

from cxr_tutorial.cache.engines import (
    _compiled,
    _converted,
    _in_pytorch,
    engine_for,
    probe_images,
    relative_error,
)
from cxr_tutorial.cache.features import backbone_features
from cxr_tutorial.cache.images import CachedXrays, decode_once
from cxr_tutorial.datasets import read_folder
from cxr_tutorial.environment import cache_dir, choose_device
from cxr_tutorial.models import MedicalImageClassifier, freeze
from cxr_tutorial.splits import split_by_patient
from cxr_tutorial.statistics.bootstrap import draw_patients
from cxr_tutorial.study.study import predict_table, train_model

FILE = Path(__file__).with_name("holdout.json")
DRAWS = 1000  # bootstrap draws of children
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1)  # C of the logistic regression
LARGE = 320  # pixels; everything else sees 224
SMALL = 128  # pixels, where the whole network is trained
EPOCHS = {"bacteria or virus": 2}  # of the whole network; tried for this question only
METHOD = (
    "One child in five is held out, one in seven of all is for validation; no child is in two "
    "parts. Among the settings of a try the AUROC on validation children chooses, and the held-out "
    "children are asked once for each chosen setting; 'the choice' is the try that is best on "
    "validation. Intervals (95 %) draw the held-out children, each with all images; the models "
    "stay as they are. Gain: minus the first try, paired. Seconds: of one thread, counted as "
    "processor time on a computer that had other work, too, from images that lie decoded in the "
    "cache; features are counted anew for each try that uses them. No child of another hospital is "
    "among them."
)


def questions(folder) -> dict[str, pd.DataFrame]:
    "Cohorts with the column split, whose index says the row of an image in the first of them."
    easy = read_folder(folder).reset_index(drop=True)
    hard = easy[easy.label == 1].assign(label=(easy.subtype == "bacteria").astype(int))
    cohorts = {"normal or pneumonia": easy, "bacteria or virus": hard}
    return {name: split_by_patient(one, test_seed="holdout") for name, one in cohorts.items()}


def kept(name: str, make) -> dict[str, np.ndarray]:
    "Arrays from the cache folder, or made now; `seconds` says what they cost."
    folder = cache_dir() / "holdout"
    folder.mkdir(exist_ok=True)
    file = folder / f"{name.replace(' ', '-')}.npz"
    if not file.exists():
        start = time.process_time()
        arrays = make()
        np.savez(file, seconds=time.process_time() - start, **arrays)
    return dict(np.load(file))


class Pooled(nn.Module):
    "The default backbone; gives means and maxima over the image of what each stage sees."

    WIDTH = 1280  # channels of the last layer

    def __init__(self, backbone: nn.Module):
        super().__init__()
        self.backbone = backbone

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        maps, x = [], self.backbone.bn1(self.backbone.conv_stem(images))
        for stage in self.backbone.blocks:
            x = stage(x)
            maps.append(x)
        last = self.backbone.bn2(self.backbone.conv_head(x))
        few = [last.mean((2, 3)), last.amax((2, 3))]
        few += [x.mean((2, 3)) for x in maps] + [x.amax((2, 3)) for x in maps]
        return torch.cat(few, 1)

    def parts(self, features: np.ndarray) -> dict[str, np.ndarray]:
        "The columns by name."
        names = ("mean", "maximum", "stages", "stage maxima")
        stages = features.shape[1] // 2 - self.WIDTH
        ends = np.cumsum([self.WIDTH, self.WIDTH, stages])
        return dict(zip(names, np.split(features, ends, axis=1), strict=True))


def stage_features(cohort: pd.DataFrame) -> dict[str, np.ndarray]:
    model, found = freeze(MedicalImageClassifier(size=224)).eval(), []
    network, shape = Pooled(model.backbone).eval(), (3, 224, 224)
    ask = exact = _in_pytorch(network, torch.device("cpu"), torch.float32)
    if engine_for(len(cohort), choose_device()).startswith("openvino"):
        ask = _compiled(_converted(network, shape), torch.float32)
    if relative_error(ask(probe_images(shape)), exact(probe_images(shape))) > 1e-4:
        ask = exact
    images = CachedXrays(cohort, 224, model.config["mean"], model.config["std"])
    for rows in tqdm(np.array_split(np.arange(len(cohort)), len(cohort) // 32), "stages"):
        found.append(ask(images.__getitems__(rows)[0].expand(-1, 3, -1, -1)))
    return network.parts(torch.cat(found).numpy())


class Features:
    "Features of all images by name, and what they cost."

    def __init__(self, cohort: pd.DataFrame):
        self.cohort, self.stored = cohort, {}

    def made(self, name: str, size: int, make) -> dict:
        if name not in self.stored:
            decode_once(self.cohort, size)
            self.stored[name] = kept(name, make)
        return self.stored[name]

    def stages(self) -> dict:
        return self.made("stages", 224, lambda: stage_features(self.cohort))

    def large(self) -> dict:
        model = freeze(MedicalImageClassifier(size=LARGE)).eval()
        make = lambda: {"large": backbone_features(model, self.cohort)[0]}
        return self.made("large", LARGE, make)

    def get(self, names) -> tuple[np.ndarray, float]:
        "Columns side by side, and seconds. A name is one that `Pooled` gives, or `large`."
        sources = [self.large() if name == "large" else self.stages() for name in names]
        cost = sum(float(one["seconds"]) for one in {id(one): one for one in sources}.values())
        columns = [one[name] for one, name in zip(sources, names, strict=True)]
        return np.concatenate(columns, axis=1), cost


def parts_of(cohort) -> list[np.ndarray]:
    "Which rows are for training, for validation, and held out."
    return [np.flatnonzero(cohort.split == part) for part in ("train", "val", "test")]


def logit(p) -> np.ndarray:
    p = np.clip(np.asarray(p, float), 1e-9, 1 - 1e-9)
    return np.log(p / (1 - p))


def on_features(name, cohort, features: Features, sets) -> list[dict]:
    "Logistic regressions on sets of features."
    train, val, test = parts_of(cohort)
    y, tries = cohort.label.to_numpy(), []
    for names in sets:
        x, seconds = features.get(names)
        x = x[cohort.index]
        for c in STRENGTHS:

            def fit(x=x, c=c):
                model = logistic(c).fit(x[train], y[train])
                return {k: model.decision_function(x[r]) for k, r in (("val", val), ("test", test))}

            text = " + ".join(names)
            made = kept(f"{name} {text} {c}", fit)
            setting, cost = f"{text}, C = {c:g}", seconds * len(x) / len(features.cohort)
            tries.append({**made, "setting": setting, "seconds": cost + float(made["seconds"])})
    return tries


def tables_of(cohort, size: int) -> dict[str, pd.DataFrame]:
    "The parts that are asked; all images are decoded beforehand."
    for part in ("train", "val", "test"):
        decode_once(cohort[cohort.split == part], size)
    return {part: cohort[cohort.split == part] for part in ("val", "test")}


def as_train_does(name, cohort) -> list[dict]:
    "What `cxr-tutorial train` does."
    tables = tables_of(cohort, 224)

    def make():
        model, history = train_model(cohort)
        made = {k: logit(predict_table(model, t).probability) for k, t in tables.items()}
        return made | {"epochs": len(history)}

    made = kept(f"{name} as train does", make)
    return [made | {"setting": f"{made['epochs']} epochs of the head"}]


def fine_tuned(name, cohort) -> list[dict]:
    "What `cxr-tutorial train --size --finetune` does."
    tables, epochs = tables_of(cohort, SMALL), EPOCHS[name]

    def make():
        model, _ = train_model(cohort, size=SMALL, finetune=epochs)
        return {k: logit(predict_table(model, t).probability) for k, t in tables.items()}

    made = kept(f"{name} fine-tuned {SMALL} {epochs}", make)
    return [made | {"setting": f"--size {SMALL} --finetune {epochs}"}]


def both(frozen: dict, tuned: dict) -> list[dict]:
    "The mean of two models; each is divided by its standard deviation on validation children."
    unit = {key: one["val"].std() for key, one in (("frozen", frozen), ("tuned", tuned))}
    add = lambda k: frozen[k] / unit["frozen"] + tuned[k] / unit["tuned"]
    setting = f"{frozen['setting']}; {tuned['setting']}"
    cost = frozen["seconds"] + tuned["seconds"]
    return [{"val": add("val"), "test": add("test"), "setting": setting, "seconds": cost}]


def best(tries: list[dict]) -> dict:
    return max(tries, key=lambda one: one["auroc"])


TRIES = {  # in the order of the table; sets of features for a logistic regression
    "train": "as `train` does: frozen, with the course's head",
    "logistic": "frozen, with a logistic regression",
    "stages": "features of several stages",
    "scales": "features of several scales",
    "both": "several stages and scales",
    "finetune": "`train --finetune`, smaller images",
    "mean": "the mean of the best frozen and the fine-tuned",
}
SETS = {
    "logistic": [("mean",)],
    "stages": [
        ("mean", "maximum"),
        ("stages",),
        ("mean", "stages"),
        ("mean", "maximum", "stages", "stage maxima"),
    ],
    "scales": [("large",), ("mean", "large")],
    "both": [
        ("mean", "stages", "large"),
        ("mean", "maximum", "stages", "stage maxima", "large"),
    ],
}


def tries_of(name, cohort, features: Features, wanted) -> dict[str, list[dict]]:
    "All tries of a question: a list of settings for each."
    y = cohort.label.to_numpy()[parts_of(cohort)[1]]
    every = {}
    for key in wanted:
        if key in ("finetune", "mean") and name not in EPOCHS:
            continue
        if key in SETS:
            tries = on_features(name, cohort, features, SETS[key])
        elif key == "mean":
            frozen = [one for k, tries in every.items() if k != "finetune" for one in tries]
            tries = both(best(frozen), best(every["finetune"]))
        else:
            make = {"train": as_train_does, "finetune": fine_tuned}[key]
            tries = make(name, cohort)
        for one in tries:
            one["auroc"] = float(aurocs(y, one["val"], np.ones((1, len(y))))[0])
        every[key] = tries
        print(f"{name} | {TRIES[key]} | {best(tries)['auroc']:.4f}", flush=True)
    return every


def interval(value: float, draws) -> list[float]:
    return [round(float(v), 4) for v in (value, *np.quantile(draws, [0.025, 0.975]))]


def rows_of(name, cohort, every: dict[str, list[dict]]) -> list[dict]:
    "What the file says of each setting. The held-out children are asked here, and only here."
    held = cohort[cohort.split == "test"]
    y, weights = held.label.to_numpy(), draw_patients(held.patient_id, DRAWS)
    one_each = np.ones((1, len(y)), np.float32)
    asked = lambda one: np.concatenate([aurocs(y, one["test"], w) for w in (one_each, weights)])
    first, rows = asked(best(next(iter(every.values())))), []
    choice = best([one for tries in every.values() for one in tries])
    for key, tries in every.items():
        for one in tries:
            row = {"question": name, "try": TRIES[key], "setting": one["setting"]}
            row |= {"validation": round(one["auroc"], 4), "seconds": round(float(one["seconds"]))}
            if one is best(tries):
                found = asked(one)
                row["held out"] = interval(found[0], found[1:])
                row["gain"] = interval(found[0] - first[0], found[1:] - first[1:])
            rows.append(row | {"the choice": one is choice})
    return rows


def words(numbers: list[float], sign: str = "") -> str:
    mean, low, high = (f"{number:{sign}.3f}" for number in numbers)
    return f"{mean} ({low} to {high})"


def table_for_people(told: dict) -> str:
    "The chosen setting of each try, then the method."
    heads = ["question", "try", "settings", "validation", "held out", "gain", "seconds", "choice"]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    rows = pd.DataFrame(told["rows"])
    for (name, title), own in rows.groupby(["question", "try"], sort=False):
        row = own[own["held out"].notna()].iloc[0]
        cells = [name, title, len(own), f"{row.validation:.3f}", words(row["held out"])]
        cells += [words(row.gain, "+"), row.seconds, "yes" if row["the choice"] else ""]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join([*lines, "", told["method"], "", told["where"]]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("real", help="folder with NORMAL and PNEUMONIA")
    parser.add_argument("--tries", nargs="*", default=list(TRIES), choices=list(TRIES))
    given = parser.parse_args()
    cohorts, rows, parts = questions(given.real), [], {}
    features = Features(cohorts["normal or pneumonia"])
    for name, cohort in cohorts.items():
        rows += rows_of(name, cohort, tries_of(name, cohort, features, given.tries))
        sizes = cohort.groupby("split").agg(images=("label", "size"), positive=("label", "sum"))
        sizes["children"] = cohort.groupby("split").patient_id.nunique()
        parts[name] = sizes.to_dict("index")
    engine = engine_for(len(features.cohort), choose_device())
    where = f"{processor()}; frozen networks through {engine}, in one thread"
    told = {"method": METHOD, "where": where, "parts": parts, "rows": rows}
    FILE.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    FILE.with_suffix(".md").write_text(table_for_people(told), encoding="utf-8")


if __name__ == "__main__":
    main()
