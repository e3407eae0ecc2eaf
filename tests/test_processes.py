"""Several processes: training through accelerate, folds and bootstraps on a cluster, caches that
are shared, interrupted, or built twice."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from dask.distributed import Client, LocalCluster
from joblib import parallel_config
from safetensors.torch import load_file
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_validate

from cxr_tutorial.cache.images import decode_once
from cxr_tutorial.cross_validation import PatientKFold
from cxr_tutorial.datasets import read_folder
from cxr_tutorial.phantom.cohort import write_cohort
from cxr_tutorial.statistics.bootstrap import evaluate_predictions

TWO = [
    "-m",
    "accelerate.commands.launch",
    "--multi_gpu",
    "--num_processes",
    "2",
    "--num_machines",
    "1",
    "--mixed_precision",
    "no",
    "--dynamo_backend",
    "no",
]

TRAIN = """
import json, sys
import torch
from safetensors.torch import save_file
from cxr_tutorial.datasets import read_folder
from cxr_tutorial.cache.features import cached_features
from cxr_tutorial.cache.images import CachedXrays, cached_image_loader, cached_loaders
from cxr_tutorial.environment import seed_everything
from cxr_tutorial.models import MedicalImageClassifier, unfreeze
from cxr_tutorial.parallel.processes import is_first_process, processes
from cxr_tutorial.splits import split_by_patient
from cxr_tutorial.training import fit, predict

folder, out = sys.argv[1:]
state = processes()
cohort = split_by_patient(read_folder(folder), val=0.2, test=0.2)
seed_everything(0)
model = MedicalImageClassifier(size=64, dropout=0.0)
unfreeze(model, stages=2)
how = model.config["size"], model.config["mean"], model.config["std"]
loaders = cached_loaders(cohort, *how, strength=0, batch_size=9)  # 9 does not divide by 2
used, original = [], CachedXrays.__getitems__

def watched(self, indices):
    if self is loaders["train"].dataset:
        used.extend(self.images[indices])
    return original(self, indices)

CachedXrays.__getitems__ = watched
history = fit(model, loaders["train"], loaders["val"], epochs=2, lr=1e-4, precision=torch.float32)
with open(f"{out}/used-{state.num_processes}-{state.process_index}.json", "w") as file:
    json.dump(list(used), file)
rows = cached_features(model.backbone, cached_image_loader(cohort, *how))
features, labels, patients = rows.__getitems__(list(range(len(rows))))
assert patients == cohort.patient_id.tolist() and labels.tolist() == cohort.label.tolist()
test = predict(model, loaders["test"])
assert test.patient_id.tolist() == cohort.patient_id[cohort.split == "test"].tolist()
if is_first_process():
    # of the last step: Adam would forgive a wrong scale
    gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad])
    weights = {k: v.contiguous() for k, v in model.state_dict().items()}
    more = {"features": features, "gradient": gradient}
    save_file(weights | more, f"{out}/weights-{state.num_processes}.safetensors")
    test.to_csv(f"{out}/test-{state.num_processes}.csv", index=False)
    history.to_csv(f"{out}/history-{state.num_processes}.csv")
    json.dump(cohort.image_hash[cohort.split == "train"].tolist(), open(f"{out}/train.json", "w"))
"""


def call(arguments, cache: Path) -> subprocess.CompletedProcess:
    environment = {**os.environ, "CXR_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [sys.executable, *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return result


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("processes") / "cohort"
    write_cohort(place, patients=60, size=(96, 120), severity=(0.8, 1.4), seed=7)
    return place


@pytest.fixture(scope="module")
def runs(folder, tmp_path_factory) -> Path:
    "The same training by one process and by two."
    out = tmp_path_factory.mktemp("runs")
    (out / "train.py").write_text(TRAIN)
    call([out / "train.py", folder, out], out / "cache-1")
    call([*TWO, out / "train.py", folder, out], out / "cache-2")
    return out


def test_two_processes_use_each_image_once_an_epoch(runs):
    train = json.loads((runs / "train.json").read_text())
    one, first, second = (
        json.loads((runs / f"used-{n}.json").read_text()) for n in ("1-0", "2-0", "2-1")
    )
    assert sorted(one) == sorted(first + second) == sorted(train * 2)  # two epochs
    assert min(len(first), len(second)) > 0.4 * len(one)


def test_two_processes_learn_what_one_learns(runs):
    one, two = (load_file(runs / f"weights-{n}.safetensors") for n in (1, 2))
    moved = [
        k
        for k in one
        if k not in ("features", "gradient") and not np.allclose(one[k], two[k], atol=1e-4)
    ]
    assert not moved and (one["gradient"] - two["gradient"]).norm() < 0.01 * one["gradient"].norm()
    assert np.allclose(
        one["features"], two["features"], rtol=0.05, atol=0.05 * one["features"].abs().mean()
    )
    one, two = (pd.read_csv(runs / f"history-{n}.csv") for n in (1, 2))
    assert np.allclose(one[["train_loss", "val_loss"]], two[["train_loss", "val_loss"]], atol=1e-4)


def test_metrics_of_two_processes_are_those_of_all_images(runs):
    one, two = (pd.read_csv(runs / f"test-{n}.csv") for n in (1, 2))
    assert one.patient_id.equals(two.patient_id) and one.label.equals(two.label)
    assert np.allclose(one.logit, two.logit, atol=0.02)
    one, two = (
        evaluate_predictions(t.assign(probability=t.probability.round(2)), 0.5, draws=100)
        for t in (one, two)
    )
    assert np.allclose(one, two, atol=0.02, equal_nan=True)


def test_command_in_two_processes_writes_once(folder, tmp_path):
    options = [
        "train",
        folder,
        "--size",
        "64",
        "--epochs",
        "4",
        "--finetune",
        "0",
        "--draws",
        "100",
        "--out",
    ]
    call(["-m", "cxr_tutorial.dev.command", *options, tmp_path / "one"], tmp_path / "cache-1")
    both = call(
        [*TWO, "-m", "cxr_tutorial.dev.command", *options, tmp_path / "two"], tmp_path / "cache-2"
    )
    assert both.stdout.count("model, metrics and report are in") == 1
    assert sorted(f.name for f in tmp_path.iterdir()) == [
        "cache-1",
        "cache-2",
        "one",
        "two",
    ]  # nothing unfinished is left
    assert sorted(f.name for f in (tmp_path / "one").iterdir()) == sorted(
        f.name for f in (tmp_path / "two").iterdir()
    )
    one, two = (load_file(tmp_path / n / "model.safetensors") for n in ("one", "two"))
    assert all(np.allclose(one[k], two[k], atol=5e-3) for k in one)
    one, two = (json.loads((tmp_path / n / "metrics.json").read_text()) for n in ("one", "two"))
    assert one["n_images"] == two["n_images"] and abs(one["auroc"] - two["auroc"]) < 0.01
    call(
        ["-m", "cxr_tutorial.dev.command", *options, tmp_path / "again"], tmp_path / "cache-1"
    )  # images and features are found this time
    one, again = (load_file(tmp_path / n / "model.safetensors") for n in ("one", "again"))
    assert all(np.array_equal(one[k], again[k]) for k in one)


def test_folds_and_bootstraps_run_on_a_cluster():
    rng = np.random.default_rng(0)
    cohort = pd.DataFrame(
        {
            "patient_id": np.repeat(np.arange(150), 2).astype(str),
            "label": np.repeat(rng.integers(0, 2, 150), 2),
        }
    )
    features = rng.normal(size=(300, 5)) + cohort.label.to_numpy()[:, None]
    table = cohort.assign(probability=1 / (1 + np.exp(-features[:, 0])))

    def work() -> tuple[np.ndarray, pd.DataFrame]:
        scores = cross_validate(
            LogisticRegression(),
            features,
            cohort.label,
            groups=cohort.patient_id,
            cv=PatientKFold(5),
            scoring="roc_auc",
        )
        return scores["test_score"], evaluate_predictions(table, 0.5, draws=600)

    here = work()
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
        parallel_config(backend="dask"),
    ):
        there = work()
        ran = client.run(lambda dask_worker: dask_worker.state.executed_count)
    assert sum(ran.values()) >= 5
    assert np.allclose(here[0], there[0])
    pd.testing.assert_frame_equal(here[1], there[1])


DECODE = """
import sys, time
from cxr_tutorial.cache import images
from cxr_tutorial.datasets import read_folder
original = images._small_image
def slowly(*arguments):
    time.sleep(0.05)
    with open(sys.argv[2], "a") as log:
        log.write("decoded\\n")
    return original(*arguments)
images._small_image = slowly
print(images.decode_once(read_folder(sys.argv[1]), 64, workers=1))
"""


def start_decoding(folder: Path, place: Path) -> subprocess.Popen:
    (place / "decode.py").write_text(DECODE)
    options = dict(
        env={**os.environ, "CXR_CACHE": str(place / "cache")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    return subprocess.Popen([sys.executable, place / "decode.py", folder, place / "log"], **options)


def whole_files(folder: Path) -> list[Path]:
    "Files of rows that carry their final name."
    return [f for f in folder.glob("*.npy") if ".partial" not in f.name]


@pytest.mark.fault("two processes that need the same images", entrance="cache")
def test_two_processes_decode_once(folder, tmp_path, saw):
    both = [start_decoding(folder, tmp_path) for _ in range(2)]
    said = [p.communicate(timeout=300)[0].strip() for p in both]
    assert said[0] == said[1] and Path(said[0]).is_file() and all(p.returncode == 0 for p in both)
    assert (
        len((tmp_path / "log").read_text().splitlines()) == read_folder(folder).image_hash.nunique()
    )
    saw("works", "one decodes, the other waits and finds the file", left="one file")


def test_killed_decoding_leaves_nothing_that_looks_whole(folder, tmp_path, monkeypatch):
    process, deadline = start_decoding(folder, tmp_path), time.time() + 120
    images = tmp_path / "cache" / "images"
    while not list(images.glob("*.partial*")) and time.time() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert list(images.glob("*.partial*")) and not whole_files(images)
    monkeypatch.setenv("CXR_CACHE", str(tmp_path / "cache"))
    cohort = read_folder(folder)
    file = decode_once(cohort, 64)
    assert np.load(file).shape == (cohort.image_hash.nunique(), 64, 64)
    assert whole_files(images) == [file]


def test_changed_file_is_refused(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("CXR_CACHE", str(tmp_path / "cache"))
    cohort = read_folder(folder)
    file = Path(cohort.path[0])
    content = file.read_bytes()
    try:
        file.write_bytes(content + b"\0")
        with pytest.raises(OSError, match=rf"{file.name} has changed since the cohort was read"):
            decode_once(cohort, 48)
    finally:
        file.write_bytes(content)
    assert not whole_files(tmp_path / "cache" / "images")


def test_full_disk_is_said_and_leaves_nothing(folder, tmp_path):
    code = f"""
import resource, signal
from cxr_tutorial.datasets import read_folder
from cxr_tutorial.cache.images import decode_once
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
decode_once(read_folder({str(folder)!r}), 64)
"""
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "CXR_CACHE": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1 and "could not be written" in result.stderr
    assert "set CXR_CACHE" in result.stderr
    assert {f.suffix for f in (tmp_path / "images").iterdir()} == {".lock"}
