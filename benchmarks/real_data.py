"""The real X-rays for `real_pitfalls.py` and `real_facts.py`: a table, pixels, features.

What takes long is computed once and kept in the cache folder (`CXR_CACHE`).
"""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from torch import nn
from torchvision.transforms import v2

from cxr_tutorial.datasets import read_folder
from cxr_tutorial.environment import cache_dir
from cxr_tutorial.models import (
    BACKBONES,
    MedicalImageClassifier,
    freeze,
    make_backbone,
    preprocessing,
    unfreeze,
)
from cxr_tutorial.splits import split_by_patient
from cxr_tutorial.transforms import evaluation_transform, training_transform

DRAWS = 1000  # bootstrap draws of patients


@dataclass
class Task:
    "A question about some of the images."

    name: str
    rows: np.ndarray  # row numbers in the cohort
    labels: np.ndarray  # 0/1 for every image of the cohort; means nothing outside `rows`


@dataclass(eq=False)  # so that answers can be remembered
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

    def first(self, task: Task) -> np.ndarray:
        "Rows of the first image of each patient of a task."
        return task.rows[np.unique(self.patient[task.rows], return_index=True)[1]]

    @cached_property
    def some(self) -> np.ndarray:
        "Rows of 1,200 children, half with bacteria and half with virus: for altered images."
        rows = np.random.default_rng(12).permutation(self.first(self.hard))
        return np.sort(np.concatenate([rows[self.hard.labels[rows] == k][:600] for k in (0, 1)]))

    def plain(self, kind: str) -> np.ndarray:
        "What a model gets of each image, as it is."
        return self.pixels if kind == "thumbnails" else self.x

    def altered(self, kind: str, name: str, change, rows=None) -> np.ndarray:
        """What a model gets of altered images. `change` takes an image and its row number. Rows
        that were not altered (all but `some`, if no rows are given) hold NaN."""
        rows = self.some if rows is None else rows
        changed = lambda: np.stack([change(self.images[row], row) for row in rows])
        if kind == "thumbnails":
            make = lambda: np.stack([thumbnail(image) for image in changed()])
        else:
            make = lambda: features(backbone(), changed())
        return self.spread(rows, self.array(f"{name}-{kind}-{len(rows)}", make))

    def spread(self, rows, values) -> np.ndarray:
        "Values of some rows in a table with a row for each image."
        whole = np.full((len(self.cohort), values.shape[1]), np.nan, np.float32)
        whole[rows] = values
        return whole

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


def features(network, images: np.ndarray, strength=None, prepare=None) -> np.ndarray:
    "What a network gives, in the mode in which it comes, with the precision the course uses."
    network, parts = network.to(memory_format=torch.channels_last), []
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for k in range(0, len(images), 32):
            some = images[k : k + 32]
            if prepare is None:
                batch = prepared(some, strength)
            else:
                batch = prepare(torch.from_numpy(np.ascontiguousarray(some))[:, None])
            parts.append(network(batch.contiguous(memory_format=torch.channels_last)).float())
    return torch.cat(parts).numpy()


def fine_tuned(images, labels, seed: int, epochs: int, flips=False, side=64):
    """Train the default network as a whole on images (n, 224, 224); a function that gives logits.

    BatchNorm keeps its statistics. With `flips`, half of the images of a batch are mirrored, at
    random. In 32 bits: for images this small bfloat16 took more than twice as long."""
    torch.manual_seed(seed)
    model = unfreeze(MedicalImageClassifier(size=side)).to(memory_format=torch.channels_last)
    prepare, y = preprocessing(model), torch.as_tensor(labels, dtype=torch.float32)
    prepared = lambda some: prepare(torch.from_numpy(np.ascontiguousarray(some))[:, None])
    x = prepared(images)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-4, fused=True)
    logit = lambda batch: model(batch.contiguous(memory_format=torch.channels_last))[:, 0]

    def say(some):
        model.eval()
        with torch.no_grad():
            parts = np.array_split(some, len(some) // 64 + 1)
            return torch.cat([logit(prepared(part)) for part in parts]).numpy()

    for _ in range(epochs):
        model.train()
        for rows in torch.randperm(len(y)).split(16):
            batch = x[rows]
            if flips:
                mirror = torch.rand(len(rows)) < 0.5
                batch[mirror] = batch[mirror].flip(-1)
            loss = nn.functional.binary_cross_entropy_with_logits(logit(batch), y[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return say


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


def draw(pool, labels, counts, seed: int) -> list[np.ndarray]:
    """Rows of the children of a study, and all other rows of the pool (one image each).

    `counts`: how many with label 0 and with label 1."""
    rows = np.random.default_rng([seed, 7]).permutation(pool)
    chosen = np.concatenate([rows[labels[rows] == k][: counts[k]] for k in (0, 1)])
    chosen = np.random.default_rng([seed, 8]).permutation(chosen)
    return [chosen, np.setdiff1d(pool, chosen)]


def cut(rows, labels, share, seed: int) -> list[np.ndarray]:
    "Rows for training and test, with the same share of each class in the test."
    return train_test_split(rows, test_size=share, stratify=labels[rows], random_state=seed)


def by_child(d: Real, task: Task, rows, test: float, seed: int) -> list[np.ndarray]:
    "Row numbers for training and test: no child in both, and the same share of each class."
    first = rows[np.unique(d.patient[rows], return_index=True)[1]]
    _, held = cut(first, task.labels, test, seed)
    inside = np.isin(d.patient[rows], d.patient[held])
    return [rows[~inside], rows[inside]]


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


def scored(say, x, y, **parts) -> dict[str, float]:
    "AUROC on each of the named parts (row numbers) of a function that gives scores."
    return {name: auroc(y[rows], say(x[rows])) for name, rows in parts.items()}


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


class First(nn.Module):
    "Hands on the first channel only, to a network that wants one."

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, images):
        return self.network(images[:, :1])


def other_stem(d, rows, seed):
    "Features of a network whose first layer is new and random, with one channel."
    torch.manual_seed(seed)
    network, _ = make_backbone()
    network.conv_stem = nn.Conv2d(1, 32, 3, stride=2, padding=1, bias=False)
    return features(First(network).eval(), d.images[rows])


def in_range(kind: str):
    "A transform that prepares bytes for the default network, as it should or in a wrong range."
    mean, std = BACKBONES["efficientnet_lite0"].normalisation
    ways = {
        "as saved": evaluation_transform(224, mean, std),
        "never scaled": v2.Compose([v2.RGB(), v2.ToDtype(torch.float32), v2.Normalize(mean, std)]),
        "scaled twice": v2.Compose(
            [v2.RGB(), v2.ToDtype(torch.float32, scale=True), v2.Normalize([127.5], [127.5])]
        ),
        "ImageNet's normalisation": evaluation_transform(224),
    }
    return ways[kind]


def new_head(inputs: int = 1280) -> nn.Module:
    "The head of the course."
    drop = lambda: nn.Dropout(0.3)
    return nn.Sequential(drop(), nn.Linear(inputs, 256), nn.ReLU(), drop(), nn.Linear(256, 1))


def logits(model, x) -> np.ndarray:
    model.eval()
    with torch.no_grad():
        return torch.cat([model(p)[:, 0] for p in torch.as_tensor(x).split(256)]).numpy()


def log_loss(y, z) -> float:
    return float(np.logaddexp(0, np.where(y == 1, -z, z)).mean())


def epochs_of(model, x, y, epochs: int, seed: int, lr: float = 1e-3, batch: int = 16):
    "Train, and hand out the model after each epoch."
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.as_tensor(x), torch.as_tensor(y, dtype=torch.float32)
    optimiser = torch.optim.AdamW(model.parameters(), lr=lr)
    steps = epochs * -(-len(y) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, lr, steps) if lr > 1e-3 else None
    for _ in range(epochs):
        model.train()
        for rows in torch.randperm(len(y), generator=generator).split(batch):
            loss = nn.functional.binary_cross_entropy_with_logits(model(x[rows])[:, 0], y[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            if schedule:
                schedule.step()
        yield model
