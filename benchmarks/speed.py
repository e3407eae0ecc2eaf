"""How fast is the course, beside what people run today? Writes speed.md and speed.json.

    python benchmarks/speed.py [path/to/chest_xray/train] [--course] [--only engines,tasks]

Each row is measured in this run, both sides on this machine, and says with which engine. Engines
and training are measured again on an older processor, which is imitated where this one knows more
than AVX2. Without a folder of real X-rays, phantoms of 224 x 224 pixels take their place.
`--course` also runs the course twice (five minutes or more); without it, its earlier rows are kept.
`--only` measures some parts and keeps the others. Asserts nothing.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

import numpy as np
import pandas as pd
import references
import torch
from engines import HELD, TODAY, processor
from imagehash import phash
from joblib import Parallel, delayed
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from tqdm import tqdm

from cxr_tutorial.audit.copies import near_duplicates
from cxr_tutorial.audit.looks import THUMBNAIL
from cxr_tutorial.cache.augment import VaryXray
from cxr_tutorial.cache.engines import FEW, engine_for
from cxr_tutorial.cache.features import backbone_features, cached_features
from cxr_tutorial.cache.images import (
    cached_image_loader,
    cached_loaders,
    decode_once,
    identity_collate,
)
from cxr_tutorial.cross_validation import PatientKFold
from cxr_tutorial.datasets import load_image, read_folder
from cxr_tutorial.environment import choose_device, choose_engine, choose_precision, seed_everything
from cxr_tutorial.models import (
    BACKBONES,
    DownloadError,
    MedicalImageClassifier,
    freeze,
    make_backbone,
    unfreeze,
)
from cxr_tutorial.phantom.anatomy import sample_patient
from cxr_tutorial.phantom.cohort import COURSE, write_cohort
from cxr_tutorial.phantom.imaging import radiograph
from cxr_tutorial.splits import split_by_patient
from cxr_tutorial.statistics.bootstrap import evaluate_predictions
from cxr_tutorial.study.study import predict_table, train_model
from cxr_tutorial.training import accelerator_for, fit, predict, train_epoch
from cxr_tutorial.transforms import resize_and_pad

HERE, SIZE = Path(__file__).parent, 128


def seconds(work, times: int = 1) -> float:
    "The shortest of several runs."
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return min(taken)


def row(
    work: str,
    unit: str,
    reference: float,
    ours: float,
    target: float,
    note: str = "",
    larger_is_better: bool = False,
    engine: str = "PyTorch",
) -> dict:
    ratio = ours / reference if larger_is_better else reference / ours
    return {
        "work": work,
        "unit": unit,
        "reference": reference,
        "ours": ours,
        "ratio": ratio,
        "target": target,
        "met": bool(ratio >= target),
        "engine": engine,
        "processor": processor(),
        "note": note,
    }


def frozen_engine() -> str:
    "What a frozen network is asked with."
    return engine_for(FEW, choose_device())


@contextmanager
def empty_cache():
    "A cache folder with nothing in it."
    before = os.environ.get("CXR_CACHE")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CXR_CACHE"] = folder
        try:
            yield
        finally:
            os.environ.pop("CXR_CACHE") if before is None else os.environ.update(CXR_CACHE=before)


def some_backbone() -> tuple[str, str]:
    "ResNet-18 if its ImageNet weights are at hand; otherwise the backbone that is installed."
    try:
        make_backbone("resnet18")
        return "resnet18", "ResNet-18"
    except DownloadError:
        why = "because ResNet-18's ImageNet weights could not be downloaded"
        return "efficientnet_lite0", f"EfficientNet-Lite0 on both sides, {why}"


def usual_input(name: str) -> tuple:
    "Mean and standard deviation that a backbone expects."
    return BACKBONES[name].normalisation


def frozen_training(folder: Path) -> list[dict]:
    "From files to the AUROC of the test patients, five epochs of a head on a frozen backbone."
    name, kind = some_backbone()
    result = {}

    def ours() -> None:
        cohort = split_by_patient(read_folder(folder))
        seed_everything(0)
        model, parts = freeze(MedicalImageClassifier(name, size=SIZE)), {}
        for p in ("train", "val", "test"):
            images = cached_image_loader(cohort[cohort.split == p], SIZE, *usual_input(name))
            rows = cached_features(model.backbone, images)
            parts[p] = DataLoader(rows, 32, shuffle=p == "train", collate_fn=identity_collate)
        fit(model.head, parts["train"], parts["val"], epochs=5)
        test = predict(model.head, parts["test"])
        result["auroc"] = roc_auc_score(test.label, test.probability)

    def tutorial() -> None:
        model, optimiser = references.tutorial_model(*make_backbone(name), frozen=True)
        references.tutorial_epoch(model, optimiser, loaders["train"])
        result["tutorial"] = references.tutorial_auroc(model, loaders["test"])

    with empty_cache():
        first, again = seconds(ours), seconds(ours)
    cohort = split_by_patient(read_folder(folder))
    place = {path: k for k, (path, _) in enumerate(ImageFolder(folder).samples)}
    rows = {
        p: [place[path] for path in cohort.path[(cohort.split == "test") == (p == "test")]]
        for p in ("train", "test")
    }
    loaders = {p: references.tutorial_loader(folder, r, p == "train") for p, r in rows.items()}
    torch.manual_seed(0)
    reference = 5 * seconds(tutorial)
    say = f"{kind}. From files, checks and decoding included."
    say += f" AUROC {result['auroc']:.3f}; the tutorial's after one epoch {result['tutorial']:.3f}"
    say += (
        " (it also trains on our validation patients). One of its epochs is measured, and counted"
    )
    say += " five times: all cost the same."
    floor = "A single pass is the floor: five passes at the gain of the engine"
    return [
        row(
            "frozen backbone, five epochs, first time",
            "s",
            reference,
            first,
            15,
            f"{say} {floor} are all there is to win.",
            engine=frozen_engine(),
        ),
        row(
            "frozen backbone, five epochs, second time",
            "s",
            reference,
            again,
            15,
            "features found in the cache folder; files are read and checked again",
            engine="none: features are found",
        ),
    ]


def fine_tuning(folder: Path) -> list[dict]:
    "Images per second of a training step on all of ResNet-18."
    cohort = read_folder(folder).sample(640, random_state=0)
    place = {path: k for k, (path, _) in enumerate(ImageFolder(folder).samples)}
    loader = references.tutorial_loader(folder, [place[p] for p in cohort.path])
    model, optimiser = references.tutorial_model(
        *make_backbone("resnet18", pretrained=False), frozen=False
    )
    reference = len(cohort) / seconds(
        lambda: references.tutorial_epoch(model, optimiser, loader), 2
    )
    mine = unfreeze(MedicalImageClassifier("resnet18", size=SIZE, pretrained=False))
    mine, precision = mine.to(memory_format=torch.channels_last), choose_precision(choose_device())
    images = cached_loaders(cohort.assign(split="train"), SIZE, batch_size=64)["train"]
    steps, helper = torch.optim.AdamW(mine.parameters(), lr=1e-4), accelerator_for(mine)
    network, steps = helper.prepare(nn.Sequential(mine), steps)
    loss = nn.BCEWithLogitsLoss()
    ours = len(cohort) / seconds(lambda: train_epoch(network, images, loss, steps, helper), 2)
    note = f"{str(precision).removeprefix('torch.')}, channels_last, batches of 64, augmentation"
    note += " included; "
    if precision == torch.float32:
        note += "without short number formats, both sides compute the same convolutions"
    else:
        note += "the backward pass of convolutions gains less from them than the forward pass"
    return [
        row(
            "fine-tuning step, ResNet-18",
            "images/s",
            reference,
            ours,
            2.5,
            note,
            larger_is_better=True,
        )
    ]


def loading(folder: Path) -> list[dict]:
    "Images per second of the loader alone, second epoch on."
    cohort = read_folder(folder)
    go = lambda loader: sum(len(batch[0]) for batch in loader)
    tutorial = references.tutorial_loader(folder)
    workers = references.tutorial_loader(folder, workers=2)
    slow, slow2 = (len(cohort) / seconds(lambda x=x: go(x), 2) for x in (tutorial, workers))
    usual = usual_input("efficientnet_lite0")
    loaders = cached_loaders(cohort.assign(split="train"), SIZE, *usual, batch_size=16)
    still = cached_image_loader(cohort, SIZE, *usual, batch_size=16)
    ours, plain = (len(cohort) / seconds(lambda x=x: go(x), 4) for x in (loaders["train"], still))
    monai = references.monai_loader(cohort.path, cohort.label.tolist())
    cached = len(cohort) / seconds(lambda: go(monai), 2)
    note = "the tutorial's loader does not augment and has no workers (with two workers "
    note += f"{slow2:,.0f}); ours without augmentation {plain:,.0f}, {plain / slow:.0f} times:"
    note += " moving the pixels costs the rest"
    return [
        row(
            "loader with augmentation, against the tutorial's",
            "images/s",
            slow,
            ours,
            20,
            note,
            larger_is_better=True,
        ),
        row(
            "loader with augmentation, against MONAI's CacheDataset",
            "images/s",
            cached,
            ours,
            2,
            "the same kinds of augmentation, drawn for each image by itself on both sides",
            larger_is_better=True,
        ),
    ]


def grey(path, at_least: int | None = None) -> torch.Tensor:  # (1, height, width), uint8
    return torch.from_numpy(load_image(path, at_least).copy())[None]


def large_files() -> list[dict]:
    "Decode and shrink large JPEGs."
    with tempfile.TemporaryDirectory() as work:
        paths = [f"{work}/{k}.jpeg" for k in range(24)]
        pictures = Parallel(n_jobs=-1)(
            delayed(radiograph)(sample_patient(k), rng=k, size=(1000, 1300))
            for k in range(len(paths))
        )
        for path, picture in zip(paths, pictures, strict=True):
            Image.fromarray(picture.image).save(path, quality=90)
        shrink = resize_and_pad(224)
        full = seconds(lambda: [shrink(grey(p)) for p in paths], 4)
        scaled = seconds(lambda: [shrink(grey(p, 224)) for p in paths], 4)
    return [
        row(
            "first pass over JPEGs of 1300 x 1000",
            "ms/image",
            1000 * full / len(paths),
            1000 * scaled / len(paths),
            2,
            "decoded at a quarter of the size; the same shrinking to 224 on both sides",
            engine="Pillow",
        )
    ]


def patient_folds(cohort: pd.DataFrame) -> np.ndarray:
    "The fold of each image by `PatientKFold`."
    number = np.empty(len(cohort), int)
    splits = PatientKFold(5).split(cohort, cohort.label, cohort.patient_id)
    for fold, (_, test) in enumerate(splits):
        number[test] = fold
    return number


def folds() -> list[dict]:
    "Five folds of CheXpert's training table."
    table = pd.read_csv(
        resources.files("torchxrayvision") / "data" / "chexpert_train.csv.gz",
        usecols=["Path", "Pneumonia", "Pleural Effusion"],
    )
    patients, rows = table.Path.str.extract(r"(patient\d+)", expand=False), []
    for finding in ("Pneumonia", "Pleural Effusion"):
        cohort, number = (
            pd.DataFrame({"patient_id": patients, "label": (table[finding] == 1).astype(int)}),
            {},
        )
        ours = seconds(lambda c=cohort, n=number: n.update(ours=patient_folds(c)), 3)
        reference = seconds(
            lambda c=cohort, n=number: n.update(
                reference=references.sklearn_folds(c.label.to_numpy(), c.patient_id.to_numpy())
            )
        )
        off = {
            k: 100 * (cohort.groupby(v).label.mean() - cohort.label.mean()).abs().max()
            for k, v in number.items()
        }
        note = f"{len(cohort):,} images; class balance off by at most {off['ours']:.2f} points"
        note += f" (scikit-learn {off['reference']:.2f})"
        rows.append(
            row(
                f"five folds by patient, {finding.lower()}",
                "s",
                reference,
                ours,
                10,
                note,
                engine="NumPy",
            )
        )
    return rows


def bootstrap() -> list[dict]:
    "2,000 draws of patients, 10,000 images."
    rng, n = np.random.default_rng(0), 10_000
    patients, labels = np.sort(rng.integers(0, 5000, n)), (rng.random(n) < 0.3).astype(int)
    table = pd.DataFrame(
        {
            "label": labels,
            "probability": 1 / (1 + np.exp(-rng.normal(labels, 1))),
            "patient_id": patients,
        }
    )
    found = {}
    ours = seconds(lambda: found.update(ours=evaluate_predictions(table, 0.5, draws=2000)), 3)
    reference = seconds(
        lambda: found.update(
            reference=references.bootstrap_loop(
                labels, table.probability.to_numpy(), patients, 2000
            )
        )
    )
    limits = np.quantile(found["reference"][:, 1], [0.025, 0.975])
    apart = np.abs(limits - found["ours"].loc["auprc", ["low", "high"]].to_numpy(float)).max()
    return [
        row(
            "2,000 patient bootstraps, n = 10,000",
            "s",
            reference,
            ours,
            30,
            "ours gives nine metrics, the loop AUROC and AUPRC; limits of the interval of AUPRC "
            f"differ by at most {apart:.4f}",
            engine="NumPy",
        )
    ]


def duplicates(folder: Path) -> list[dict]:
    "Near-duplicate search over up to 20,000 different pictures."
    cohort = read_folder(folder)
    pictures, vary = (
        torch.from_numpy(np.load(decode_once(cohort, SIZE)))[:, None],
        VaryXray(),
    )
    torch.manual_seed(0)
    versions = -(-20_000 // len(pictures))
    moved = np.concatenate([vary(pictures).byte().numpy()[:, 0] for _ in range(versions)])
    moved = moved[np.random.default_rng(0).permutation(len(moved))[:20_000]]
    look = lambda image: (
        np.asarray(image.resize((THUMBNAIL,) * 2, Image.Resampling.BOX), np.float32).ravel(),
        phash(image, hash_size=16).hash.ravel(),
    )
    thumbnails, hashes = (
        np.stack(part)
        for part in zip(
            *(look(Image.fromarray(m)) for m in tqdm(moved, desc="pictures", leave=False)),
            strict=True,
        )
    )
    taken = {
        n: seconds(lambda n=n: near_duplicates(thumbnails[:n], hashes[:n]), 3)
        for n in (1000, 5000, 20_000)
    }
    rows = []
    for few, many in ((1000, 5000), (5000, 20_000)):
        growth, square = taken[many] / taken[few], (many / few) ** 2
        power = np.log(growth) / np.log(many / few)
        note = f"{taken[few]:.2f} s and {taken[many]:.2f} s: {growth:.1f} times as long for "
        note += f"{many // few} times as many (to the power of {power:.2f})"
        rows.append(
            row(
                f"near-duplicates, {few:,} to {many:,}",
                "times as long",
                square,
                growth,
                1.5,
                f"{note}; the reference is quadratic growth; the set's images, moved at random",
                engine="NumPy",
            )
        )
    return rows


def validation(folder: Path) -> list[dict]:
    "Five-fold cross-validation beside one pass through the backbone."
    cohort, model, found = read_folder(folder), freeze(MedicalImageClassifier(size=SIZE)), {}
    with empty_cache():
        decode_once(cohort, SIZE)
        once = seconds(lambda: found.update(x=backbone_features(model, cohort)[0]))
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=1e-3, max_iter=1000))
    how = {"groups": cohort.patient_id, "cv": PatientKFold(5), "scoring": "roc_auc"}
    five = seconds(
        lambda: found.update(cross_validate(classifier, found["x"], cohort.label, **how))
    )
    auroc = found["test_score"].mean()
    note = (
        f"features {once:.1f} s, five folds {five:.1f} s; AUROC {auroc:.3f}. The ratio is the pass"
    )
    note += " over pass plus folds; within 1.5 times means at least 0.67"
    return [
        row(
            "five-fold cross-validation, frozen backbone",
            "s",
            once,
            once + five,
            1 / 1.5,
            note,
            engine=frozen_engine(),
        )
    ]


def peak_memory(images: int) -> float:  # MiB
    "Train on so many simulated images in a fresh process; the largest memory it ever had."
    result = subprocess.run(
        [sys.executable, __file__, "--memory", str(images)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "CXR_ENGINE": choose_engine()},  # few images would be left to PyTorch
    )
    return float(result.stdout.split()[-1])


def train_simulated(images: int) -> None:
    "Images of 64 x 64 pixels: a head on frozen features, then a small network on the images."
    rng = np.random.default_rng(0)
    patterns = [radiograph(sample_patient(k), rng=k, size=(64, 64)).image for k in range(20)]
    with tempfile.TemporaryDirectory() as work, empty_cache():
        for k in range(images):
            label = k % 2
            folder = Path(work, "set", ("NORMAL", "PNEUMONIA")[label])
            folder.mkdir(parents=True, exist_ok=True)
            picture = (
                patterns[k % 20] * rng.uniform(0.6, 1.0) + rng.normal(0, 8, (64, 64)) + 6 * label
            )
            Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(
                folder / (f"IM-{k:06d}-0001.jpeg" if label == 0 else f"person{k}_virus_{k}.jpeg")
            )
        cohort = split_by_patient(read_folder(Path(work, "set")))
        train_model(cohort, size=32, epochs=2)
        small = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=4),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8, 1),
        )
        loaders = cached_loaders(cohort, 32)
        fit(small, loaders["train"], loaders["val"], epochs=1)
    print(largest_memory())


def largest_memory() -> float:  # MiB
    "The most memory that this process has had."
    status = Path("/proc/self/status")
    if (
        status.exists()
    ):  # Linux, whose ru_maxrss would start with the memory of the process that started this one
        return int(re.search(r"VmHWM:\s+(\d+)", status.read_text())[1]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def memory() -> list[dict]:
    few, many = Parallel(n_jobs=2, prefer="threads")(
        delayed(peak_memory)(images) for images in (5_000, 50_000)
    )
    note = f"{many / few - 1:+.1%}; to be met: within 10 %. Everything counts: files read, table,"
    note += " cache, features, training, and the libraries themselves"
    return [
        row(
            "peak memory, training on 5,000 and 50,000 images",
            "MiB",
            few,
            many,
            1 / 1.1,
            note,
            engine=frozen_engine(),
        )
    ]


def costs(folder: Path) -> pd.DataFrame:
    "Milliseconds per image from files to metrics, 224 x 224 pixels, for four kinds of files."
    kinds = {
        "JPEG 224 x 224": (224, 224),
        "JPEG 390 x 320": (320, 390),
        "JPEG 1300 x 1000": (1000, 1300),
        "PNG 1024 x 1024": (1024, 1024),
    }
    rows = {}
    for name, size in kinds.items():
        with tempfile.TemporaryDirectory() as work, empty_cache():
            patients = 160 if max(size) < 500 else 48
            write_cohort(
                Path(work, "set"),
                patients=patients,
                images_per_patient=1.0,
                size=size,
                fractions={"train": 1.0},
            )
            for file in Path(work, "set").rglob("*.jpeg") if name.startswith("PNG") else []:
                Image.open(file).save(file.with_suffix(".png"))
                file.unlink()
            found = {}
            read = seconds(
                lambda w=work, f=found: f.update(c=split_by_patient(read_folder(Path(w, "set"))))
            )
            cohort = found["c"]
            decode = seconds(lambda c=cohort: decode_once(c, 224))
            model = freeze(MedicalImageClassifier())
            network = seconds(lambda m=model, c=cohort: backbone_features(m, c))
            rows[name] = {"read and check": read, "decode": decode, "network": network}
            rows[name] = {k: 1000 * v / len(cohort) for k, v in rows[name].items()}
    with empty_cache():
        cohort = read_folder(folder)
        cohort = split_by_patient(
            cohort.sample(min(1500, len(cohort)), random_state=0, ignore_index=True)
        )
        train_model(cohort, epochs=1)
        head = seconds(lambda: train_model(cohort, epochs=20))
        model, _ = train_model(cohort, epochs=1)
        test = predict_table(model, cohort[cohort.split == "test"])
        rest = seconds(lambda: evaluate_predictions(test, 0.5))
    table = pd.DataFrame(rows).T
    return table.assign(
        **{"head, 20 epochs": 1000 * head / len(cohort), "metrics": 1000 * rest / len(cohort)}
    ).assign(total=lambda t: t.sum(axis=1))


def projection(table: pd.DataFrame) -> pd.DataFrame:
    "Hours for whole public sets, from the cost per image. A GPU is counted as taking no time."
    sets = {
        "NIH (112,120 PNG, 1024 x 1024)": (112_120, "PNG 1024 x 1024"),
        "CheXpert, small (223,414 JPEG, about 390 x 320)": (223_414, "JPEG 390 x 320"),
    }
    rows = {}
    for name, (images, kind) in sets.items():
        all_of_it, without = (
            images * value / 3.6e6
            for value in (table.total[kind], table.total[kind] - table.network[kind])
        )
        rows[name] = {
            f"hours, {os.cpu_count()} cores": all_of_it,
            f"hours, {os.cpu_count()} cores and one GPU, at least": without,
        }
    return pd.DataFrame(rows).T


def shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def line(r: dict) -> list[str]:
    "A row of the table in words."
    numbers = [
        shown(r["reference"]),
        shown(r["ours"]),
        r["unit"],
        f"{r['ratio']:.2f}",
        f"{r['target']:.2f}",
        "yes" if r["met"] else "no",
    ]
    how = [r.get("engine", "not noted"), r.get("processor", "not noted")]
    return [r["work"], *numbers, *how, r["note"]]


def in_a_process(*command, held: bool = False, cache: str | None = None) -> tuple[float, str]:
    "Seconds that a program took, and what it printed; `held`: on an imitated older processor."
    told = {**os.environ, **(HELD if held else {})}
    if cache:
        told["CXR_CACHE"] = cache
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        stdout=subprocess.PIPE,
        text=True,
        env=told,
        check=True,
    )
    return time.perf_counter() - start, done.stdout


def knows_more() -> bool:
    "Has this processor more than AVX2, and is it not held to that already?"
    kind = torch.backends.cpu.get_cpu_capability()
    return kind.startswith(("AVX512", "AMX")) and not os.environ.get("ONEDNN_MAX_CPU_ISA")


def engines() -> list[dict]:
    "Images per second of each engine, here and on an older processor."
    found = []
    for held in (False, True) if knows_more() else (False,):
        printed = in_a_process(HERE / "engines.py", held=held)[1]
        lines = [json.loads(text) for text in printed.splitlines() if text.startswith("{")]
        found += lines
        for one in lines:
            print(f"{one['engine']} | {one['processor']} | {one['images/s']:.0f}", flush=True)
    return found


def engine_rows(found: list[dict]) -> list[dict]:
    "The engine of the course beside the fastest way without another library, in 32 bits."
    rows = []
    for name in dict.fromkeys(one["processor"] for one in found):
        here = {one["engine"]: one["images/s"] for one in found if one["processor"] == name}
        ours = [kind for kind in here if kind.startswith("OpenVINO") and "32 bits" in kind]
        for kind in ours:
            made = row(
                "features of the default backbone, 224 x 224",
                "images/s",
                here[f"{TODAY}, 32 bits"],
                here[kind],
                2.5,
                "the reference is PyTorch with channels last in batches of 16, as in version 0.4",
                larger_is_better=True,
                engine=kind,
            )
            rows.append(made | {"processor": name})
    return rows


def task(
    work: str, unit: str, value: float, aimed_at: float | None, engine: str, held=False
) -> dict:
    "One of the whole tasks that people wait for."
    made = {"work": work, "unit": unit, "value": value, "aimed at": aimed_at, "engine": engine}
    name = in_a_process(HERE / "engines.py", "--processor", held=held)[1].strip()
    print(f"{work} | {shown(value)} {unit} | {engine} | {name}", flush=True)
    return made | {"processor": name}


def phantoms() -> list[dict]:
    "Images per second with the settings of the course, on all cores."
    with tempfile.TemporaryDirectory() as work:
        write_cohort(f"{work}/first", patients=2 * (os.cpu_count() or 1), size=(64, 80))
        taken = seconds(lambda: write_cohort(f"{work}/set", settings=COURSE, patients=200))
        number = len(list(Path(work, "set").rglob("*.jpeg")))
    return [
        task(
            "simulate X-rays with the course's settings", "images/s", number / taken, None, "NumPy"
        )
    ]


def whole_tasks(folder: Path, real: bool) -> list[dict]:
    "The command line, from files to report, each time in a process of its own."
    what = f"{len(ImageFolder(folder)):,} {'real X-rays' if real else 'phantoms'}"
    command, held = ("-m", "cxr_tutorial.study.command"), knows_more()
    rows, name = phantoms(), frozen_engine()
    with tempfile.TemporaryDirectory() as work:
        cache = f"{work}/cache"
        taken, _ = in_a_process(*command, "audit", folder, cache=cache)
        rows.append(task(f"audit of {what}", "s", taken, 15, "NumPy"))
        shutil.rmtree(cache, ignore_errors=True)
        for kind, aim in {"first": 75, "second": 10}.items():
            out = f"{work}/{kind}"
            taken, _ = in_a_process(*command, "train", folder, "--out", out, held=held, cache=cache)
            rows.append(task(f"train on {what}, {kind} time", "s", taken, aim, name, held))
    return rows


def course() -> list[dict]:
    "All chapters, from an empty cache and again."
    rows, short = [], choose_precision(choose_device()) == torch.bfloat16
    with tempfile.TemporaryDirectory() as work:
        for kind, aim in {"first": 150 if short else 210, "second": 90}.items():
            out, book = f"{work}/build", HERE.parent / "nbs"
            run = ("-m", "cxr_tutorial.dev.command", "run", "--notebooks", book, "--out", out)
            taken, _ = in_a_process(*run, cache=f"{work}/cache")
            rows.append(task(f"run the course, {kind} time", "s", taken, aim, frozen_engine()))
    return rows


def class_folder(real: str) -> Path:
    "What holds NORMAL and PNEUMONIA: this folder, or `train` in it. `ValueError` if neither does."
    for folder in (Path(real), Path(real, "train")):
        if all((folder / name).is_dir() for name in ("NORMAL", "PNEUMONIA")):
            return folder
    raise ValueError(f"{real} does not hold NORMAL and PNEUMONIA; name path/to/chest_xray/train")


def measure(real: str | None, parts: list[str]) -> dict:
    "Everything that was asked for, one after the other."
    start, made = time.perf_counter(), {}
    with tempfile.TemporaryDirectory() as work, empty_cache():
        folder = class_folder(real) if real else Path(work, "phantom", "train")
        if not real:
            write_cohort(
                Path(work, "phantom"), patients=1100, size=(224, 224), fractions={"train": 1.0}
            )
        if "engines" in parts:
            made["engines"] = engines()
        if "tasks" in parts:
            made["tasks"] = whole_tasks(folder, bool(real))
        if "course" in parts:
            made["course"] = course()
        if "rows" in parts:
            made["rows"] = beside_others(folder)
        if "costs" in parts:
            table = costs(folder)
            made["costs"] = table.to_dict("index")
            made["projection"] = projection(table).to_dict("index")
        images = len(ImageFolder(folder))
    device = choose_device()
    made["about"] = {
        "data": f"{images:,} {'real X-rays' if real else 'phantoms'}",
        "processor": processor(),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else device.type,
        "torch": torch.__version__,
        "engine": frozen_engine(),
        "measured last": ", ".join(parts),
        "seconds": round(time.perf_counter() - start),
    }
    return made


def beside_others(folder: Path) -> list[dict]:
    "The course beside what people run today."
    each, rows = [frozen_training, fine_tuning, loading, duplicates, validation], []
    jobs = [
        *(lambda job=job: job(folder) for job in each),
        large_files,
        folds,
        bootstrap,
        memory,
    ]
    for job in jobs:
        for found in job():
            rows.append(found)
            print(" | ".join(line(found)), flush=True)
    return rows


def merged(earlier: dict, made: dict) -> dict:
    "What was measured now, and of the course what was measured earlier on other processors."
    result = {**earlier, **made}
    now = {(one["work"], one["processor"]) for one in made.get("course", [])}
    kept = [x for x in earlier.get("course", []) if (x["work"], x["processor"]) not in now]
    result["course"] = [*made.get("course", []), *kept]
    return result


def as_text(result: dict) -> str:
    "The tables of speed.md."
    rows = [*engine_rows(result.get("engines", [])), *result.get("rows", [])]
    lines = [", ".join(f"{k}: {v}" for k, v in result["about"].items()), ""]
    lines += [
        "| work | reference | ours | unit | ratio | to reach | met | engine | processor | note |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [f"| {' | '.join(line(r))} |" for r in rows]
    lines += [
        "",
        "| engine | processor | images/s | times today's | error |",
        "|---|---|---|---|---|",
    ]
    for one in result.get("engines", []):
        numbers = f"{one['images/s']:.0f} | {one['gain']:.2f}"
        lines.append(f"| {one['engine']} | {one['processor']} | {numbers} | {one['error']:.1e} |")
    lines += ["", "| task | result | aimed at | engine | processor |", "|---|---|---|---|---|"]
    for one in [*result.get("tasks", []), *result.get("course", [])]:
        aim = "" if one["aimed at"] is None else shown(one["aimed at"])
        value = f"{shown(one['value'])} {one['unit']}"
        lines.append(f"| {one['work']} | {value} | {aim} | {one['engine']} | {one['processor']} |")
    return "\n".join(lines) + "\n"


PARTS = ("engines", "tasks", "rows", "costs")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("real", nargs="?", help="folder with NORMAL and PNEUMONIA")
    arguments.add_argument("--course", action="store_true", help="run the course twice, too")
    arguments.add_argument("--only", help=f"some of {','.join(PARTS)},course")
    arguments.add_argument("--memory", type=int, help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.memory:
        train_simulated(options.memory)
        return
    parts = options.only.split(",") if options.only else [*PARTS]
    parts += ["course"] if options.course and "course" not in parts else []
    file = HERE / "speed.json"
    earlier = json.loads(file.read_text()) if file.exists() else {}
    result = merged(earlier, measure(options.real, parts))
    file.write_text(json.dumps(result, indent=1) + "\n")
    (HERE / "speed.md").write_text(as_text(result))
    for kind in ("costs", "projection"):
        print("\n" + pd.DataFrame(result[kind]).T.round(2).to_string())


if __name__ == "__main__":
    main()
