"""Killed without warning at twenty random times; then a clean run gives the same files."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cxr_tutorial.study.study import STUDY_FILES

# One process imports everything and starts the others as copies of itself, which takes no time.
DRIVER = """
import os, random, shutil, signal, sys, time, traceback
from pathlib import Path

import nbformat
import torch
from PIL import Image

from cxr_tutorial.cache.images import decode_once
from cxr_tutorial.datasets import read_folder
from cxr_tutorial.dev.runner import run_chapters
from cxr_tutorial.models import MedicalImageClassifier
from cxr_tutorial.phantom.cohort import write_cohort
from cxr_tutorial.study.study import run_study

torch.set_num_threads(1)
kind, data, place = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])


def work(place):
    os.environ["CXR_CACHE"] = str(place / "cache")
    if kind == "cache":
        decode_once(read_folder(data, workers=1), 96, workers=1)
    elif kind == "phantom":
        settings = dict(images_per_patient=1.0, size=(96, 120), masks=True)
        write_cohort(place / "cohort", patients=12, workers=1, **settings)
    elif kind == "train":
        run_study(data, place / "study", size=32, epochs=8, draws=400)
    else:
        run_chapters(place / "nbs", place / "out", inplace=True, jobs=1)


def start(place):
    child = os.fork()
    if child:
        return child
    sys.stderr = open(place / "said.txt", "w")
    try:
        work(place)
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


begin = time.perf_counter()
assert os.waitpid(start(place / "clean"), 0)[1] == 0, (place / "clean" / "said.txt").read_text()
duration, shares = time.perf_counter() - begin, []
while len(shares) < 5:
    share = random.random()
    child = start(place / "killed")
    time.sleep(share * duration)
    os.kill(child, signal.SIGKILL)
    if os.waitpid(child, 0)[1] == signal.SIGKILL:
        shares.append(share)
    else:  # it was ready before, so the next one begins anew
        for name in ("cache", "cohort", "study", "out"):
            shutil.rmtree(place / "killed" / name, ignore_errors=True)
    for notebook in (place / "killed").glob("nbs/**/*.ipynb"):
        nbformat.read(notebook, 4)  # also in place, a notebook is whole at any time
print("killed after these shares of", duration, "seconds:", shares)
assert os.waitpid(start(place / "killed"), 0)[1] == 0, (place / "killed" / "said.txt").read_text()
"""

NOTEBOOK = {
    "nbformat": 4,
    "nbformat_minor": 5,
    "metadata": {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}
    },
    "cells": [
        {"cell_type": "markdown", "id": "a", "metadata": {}, "source": "# Title\n\n> A line"},
        {
            "cell_type": "code",
            "id": "b",
            "metadata": {},
            "source": "print(sum(range(10)))",
            "outputs": [],
            "execution_count": None,
        },
    ],
}


def contents(place: Path) -> dict[str, bytes]:
    "All files, without what differs from run to run: seconds, and the name of the place."
    found = {}
    for file in sorted(place.rglob("*")):
        name = file.relative_to(place).as_posix()
        if file.is_dir() or name in ("said.txt", "out/seconds.csv") or name.endswith(".npy.lock"):
            continue
        content = file.read_bytes()
        if file.name == "metrics.json":
            content = json.dumps({**json.loads(content), "seconds": 0}).encode()
        found[name] = content
    return found


@pytest.mark.slow
@pytest.mark.fault("kill -9 at five random times during {kind}", entrance="any work")
@pytest.mark.parametrize("kind", ["cache", "phantom", "train", "run"])
def test_killed_at_random_times(kind, tmp_path, saw, xrays):
    for name in ("clean", "killed"):
        (tmp_path / name / "nbs" / "course").mkdir(parents=True)
        names = ("course/00_environment", "course/01_example", "index")
        for notebook in names if kind == "run" else ():
            file = tmp_path / name / "nbs" / f"{notebook}.ipynb"
            file.write_text(json.dumps(NOTEBOOK))
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, kind, str(xrays), str(tmp_path)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    clean, killed = contents(tmp_path / "clean"), contents(tmp_path / "killed")
    assert set(clean) == set(killed), done.stdout  # nothing unfinished is left
    different = [name for name in clean if clean[name] != killed[name]]
    assert not different, done.stdout
    assert kind != "train" or {f"study/{name}" for name in STUDY_FILES} < set(clean)
    saw("a clean run gives the same files", "", left="nothing after that run")


@pytest.fixture(scope="module")
def xrays(tmp_path_factory) -> Path:
    from test_entrances import write_xrays

    return write_xrays(tmp_path_factory.mktemp("kills") / "xrays", each=60)
