"""The real X-rays for `real_pitfalls.py`: a table, the pixels, features of a frozen network.

What takes long is computed once and kept in the cache folder (`CXR_CACHE`).
"""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from torch import nn

from cxr_tutorial.datasets import read_folder
from cxr_tutorial.environment import cache_dir
from cxr_tutorial.models import MedicalImageClassifier, freeze, preprocessing
from cxr_tutorial.splits import split_by_patient
from cxr_tutorial.transforms import training_transform

DRAWS = 1000  # bootstrap draws of patients


@dataclass
class Task:
    "A question about some of the images."

    name: str
    rows: np.ndarray  # row numbers in the cohort
    labels: np.ndarray  # 0/1 for every image of the cohort; means nothing outside `rows`


@dataclass
class Real:
    "The cohort and everything that is computed from it."

    cohort: pd.DataFrame
    stored: dict = field(default_factory=dict)

    def array(self, name: str, make) -> np.ndarray:
        "An array from memory, from the cache folder, or made now."
        if name not in self.stored:
            folder = cache_dir() / "real"
            folder.mkdir(exist_ok=True)
            file = folder / f"{name}-{len(self.cohort)}.npy"
            if not file.exists():
                np.save(file, make())
            self.stored[name] = np.load(file)
        return self.stored[name]

    @cached_property
    def patient(self) -> np.ndarray:
        "Number of the patient of each image."
        return pd.factorize(self.cohort.patient_id)[0]

    @cached_property
    def weights(self) -> np.ndarray:
        "(DRAWS, patients): how often each patient is drawn."
        count = self.patient.max() + 1
        drawn = np.random.default_rng(0).integers(count, size=(DRAWS, count))
        return np.stack([np.bincount(row, minlength=count) for row in drawn]).astype(np.float32)

    @property
    def images(self) -> np.ndarray:
        "(n, 224, 224) uint8."
        return self.array("images", lambda: np.stack([grey(p) for p in self.cohort.path]))

    @property
    def pixels(self) -> np.ndarray:
        "Thumbnails of 24 x 24 pixels, from 0 to 1."
        return self.array("thumbnails", lambda: np.stack([thumbnail(i) for i in self.images]))

    @property
    def x(self) -> np.ndarray:
        "Features of the frozen network."
        return self.array("features", lambda: features(backbone(), self.images))

    @property
    def mirrored(self) -> np.ndarray:
        "Features of the mirrored images."
        return self.array("mirrored", lambda: features(backbone(), self.images[..., ::-1]))

    @cached_property
    def easy(self) -> Task:
        "Normal or pneumonia?"
        return Task("pneumonia", np.arange(len(self.cohort)), self.cohort.label.to_numpy())

    @cached_property
    def hard(self) -> Task:
        "Bacteria or virus? Children with pneumonia only."
        labels = (self.cohort.subtype == "bacteria").to_numpy().astype(int)
        return Task("bacteria against virus", np.flatnonzero(self.cohort.label == 1), labels)


def read_real(folder) -> Real:
    "Read the folder. A patient is number and subtype: person1_bacteria and person1_virus are two."
    return Real(read_folder(folder))


def grey(path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("L"))


def thumbnail(image: np.ndarray, side: int = 24) -> np.ndarray:
    small = Image.fromarray(image).resize((side, side), Image.Resampling.BOX)
    return np.asarray(small, np.float32).ravel() / 255


def backbone() -> nn.Module:
    "The course's default network, frozen."
    return freeze(MedicalImageClassifier(size=224)).backbone.eval()


def prepared(images: np.ndarray, strength: float | None = None) -> torch.Tensor:
    "A batch for the network; with a strength, each image is moved and brightened on its own."
    network = MedicalImageClassifier(size=224, pretrained=False)
    batch = torch.from_numpy(np.ascontiguousarray(images))[:, None]
    if strength is None:
        return preprocessing(network)(batch)
    vary = training_transform(224, network.config["mean"], network.config["std"], strength)
    return torch.stack([vary(image) for image in batch])


def features(network: nn.Module, images: np.ndarray, strength: float | None = None) -> np.ndarray:
    "What a network gives, in the mode in which it comes, with the precision the course uses."
    network, parts = network.to(memory_format=torch.channels_last), []
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for k in range(0, len(images), 32):
            batch = prepared(images[k : k + 32], strength)
            parts.append(network(batch.contiguous(memory_format=torch.channels_last)).float())
    return torch.cat(parts).numpy()


def logistic(c: float = 1e-3):
    return make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=2000))


def machine():
    "The support vector machine of the chapter on splits."
    return make_pipeline(StandardScaler(), SVC(C=10))


def by_patient(d: Real, task: Task, rows, test: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    "Row numbers for training and test; no patient is in both."
    table = d.cohort.iloc[rows].assign(label=task.labels[rows]).reset_index(drop=True)
    part = split_by_patient(table, val=0, test=test, test_seed=seed).split.to_numpy()
    return rows[part == "train"], rows[part == "test"]


def some_patients(d: Real, task: Task, n: int, seed: int, one_each: bool = False) -> np.ndarray:
    "Rows of n random patients of a task; of each patient all images, or the first one."
    own = d.patient[task.rows]
    chosen = np.random.default_rng(seed).permutation(np.unique(own))[:n]
    rows = task.rows[np.isin(own, chosen)]
    return rows[np.unique(d.patient[rows], return_index=True)[1]] if one_each else rows


def others(d: Real, task: Task, rows) -> np.ndarray:
    "Rows of a task that belong to none of the patients of `rows`."
    return task.rows[~np.isin(d.patient[task.rows], d.patient[rows])]


def aurocs(labels, scores, weights) -> np.ndarray:
    "AUROC for each row of weights (draws, n); ties count half."
    order = np.argsort(scores, kind="stable")
    start = np.flatnonzero(np.r_[True, np.diff(np.asarray(scores)[order]) > 0])
    labels, weights = np.asarray(labels)[order], weights[:, order]
    ill = np.add.reduceat(weights * labels, start, axis=1, dtype=np.float64)
    well = np.add.reduceat(weights * (1 - labels), start, axis=1, dtype=np.float64)
    below = np.cumsum(well, axis=1) - well / 2
    with np.errstate(invalid="ignore"):  # NaN where a draw holds one class only
        return (ill * below).sum(1) / (ill.sum(1) * well.sum(1))


def auroc(labels, scores) -> float:
    return float(aurocs(labels, scores, np.ones((1, len(labels)), np.float32))[0])


def rank(labels, scores):
    "A statistic for `Figure`: AUROC."
    return lambda weights: aurocs(labels, scores, weights)


def share(hits, among):
    "A statistic for `Figure`: which share of the images in `among` are hits (both boolean)."
    hits, among = np.asarray(hits, float), np.asarray(among, float)
    return lambda weights: (weights @ (hits * among)) / (weights @ among)


class Figure:
    "A number as a mean over runs, with a 95 % interval by patient (the models stay as they are)."

    def __init__(self, d: Real):
        self.d, self.runs, self.drawn = d, [], []

    def add(self, rows, statistic) -> "Figure":
        "`statistic` takes weights (draws, images), and gives one number for each draw."
        self.runs.append(float(statistic(np.ones((1, len(rows)), np.float32))[0]))
        self.drawn.append(statistic(self.d.weights[:, self.d.patient[rows]]))
        return self

    mean = property(lambda self: float(np.mean(self.runs)))
    sd = property(lambda self: float(np.std(self.runs, ddof=1)))
    draws = property(lambda self: np.nanmean(self.drawn, axis=0))

    def __str__(self) -> str:
        low, high = np.nanquantile(self.draws, [0.025, 0.975])
        return f"{self.mean:.3f} ({low:.3f} to {high:.3f})"

    def long(self) -> str:
        return f"{self}, SD over {len(self.runs)} seeds {self.sd:.3f}"

    def minus(self, other: "Figure") -> str:
        "The difference, paired by patient and run, in words."
        low, high = np.nanquantile(self.draws - other.draws, [0.025, 0.975])
        positive = int((np.array(self.runs) > np.array(other.runs)).sum())
        sign = f"above zero for {positive} of {len(self.runs)} seeds"
        return f"{self.mean - other.mean:+.3f} ({low:+.3f} to {high:+.3f}), {sign}"
