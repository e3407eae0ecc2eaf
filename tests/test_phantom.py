"""What the phantom draws, against a record of what it drew before it was made faster.

Elementary functions and matrix products round differently on different processors, so a hash alone
would fail elsewhere for no reason. Hashes are compared where processor and libraries are those of
the record; everywhere, mean grey levels of blocks, areas and the truth, as far as rounding allows.
"""

import hashlib
import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cxr_tutorial.phantom.anatomy import sample_patient
from cxr_tutorial.phantom.cohort import write_cohort
from cxr_tutorial.phantom.findings import sample_finding
from cxr_tutorial.phantom.imaging import radiograph
from cxr_tutorial.phantom.sites import sample_site

RECORD = Path(__file__).parent / "cases" / "phantom.json"
ALL = dict(effusion=True, cardiomegaly=True, pneumothorax=True, devices=True)
KINDS = [
    (None, {}),
    ("bacteria", dict(effusion=True)),
    ("virus", {}),
    (None, dict(pneumothorax=True)),
    ("bacteria", ALL),
    (None, dict(devices=True, cardiomegaly=True)),
    ("virus", ALL),
]
IMAGES = 24
SIZES = [(96, 120), (224, 280), (64, 80), (256, 320), (200, 160), (33, 45)]
COHORT = dict(patients=12, size=(64, 80), masks=True, sites=3, pa=0.5, seed=11)
COHORT |= dict(situs_inversus=0.3, comorbidity=0.4, devices=0.4, effusion=1.0, case_mix=0.5)
COHORT |= dict(drift=0.5, duplicates=0.1, label_noise=0.1, mark_shortcut=0.5)


def place() -> dict:
    "What rounding depends on."
    features = np._core._multiarray_umath.__cpu_features__
    versions = {name: version(name) for name in ("numpy", "scipy", "pillow", "pandas")}
    return versions | {"processor": sorted(name for name, has in features.items() if has)}


def take(number: int):
    "A patient with a view, findings, a site and a size that others in the record do not have."
    kind, others = KINDS[number % len(KINDS)]
    age, inverted = (None, 30.0, 3.0, 12.0)[number % 4], float(number % 5 == 0)
    patient = sample_patient(number, age, situs_inversus=inverted)
    severity = (1.0, 0.5, 1.3, 0.05)[number % 4]
    finding = sample_finding(patient, number + 1, kind, severity, **others)
    site = sample_site(number) if number % 3 else None
    size, view = SIZES[number % len(SIZES)], ("AP", "PA")[number % 2]
    return radiograph(patient, finding, [5, number], size, view, ("R", None, "L")[number % 3], site)


def hash_of(*arrays) -> str:
    joined = b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)
    return hashlib.sha256(joined).hexdigest()[:16]


def block_means(image) -> list:
    "Mean grey levels of 4 by 5 blocks."
    rows = np.array_split(image, 4)
    return [round(float(part.mean()), 3) for row in rows for part in np.array_split(row, 5, axis=1)]


def described(number: int) -> dict:
    taken = take(number)
    measured = ("_area", "_ratio")  # follow from the areas
    facts = {name: value for name, value in taken.truth.items() if not name.endswith(measured)}
    return {
        "hash": hash_of(taken.image, taken.signal, *taken.masks.values()),
        "blocks": block_means(taken.image),
        "areas": {name: int(mask.sum()) for name, mask in taken.masks.items()},
        "truth": facts | {"low": taken.window[0], "high": taken.window[1]},
    }


def contents(folder: Path) -> dict:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def files_of(folder: Path) -> dict:
    "A hash for each file of a cohort."
    found = contents(folder)
    return {name: hashlib.sha256(data).hexdigest()[:16] for name, data in found.items()}


def write_record(folder: Path) -> None:
    "Called by hand, when a change of the images is meant (and `RENDERING` is raised)."
    write_cohort(folder / "cohort", workers=1, **COHORT)
    files = files_of(folder / "cohort")
    record = {"place": place(), "images": [described(n) for n in range(IMAGES)], "files": files}
    lines = json.dumps(record).replace('}, {"hash"', '},\n{"hash"').replace('"files"', '\n"files"')
    RECORD.write_text(lines + "\n")


@pytest.fixture(scope="module")
def record() -> dict:
    return json.loads(RECORD.read_text())


@pytest.mark.parametrize("number", range(IMAGES))
def test_images_masks_and_truth_are_those_of_the_record(record, number):
    before, now = record["images"][number], described(number)
    assert np.abs(np.subtract(now["blocks"], before["blocks"])).max() < 0.02  # grey levels
    for name, area in before["areas"].items():
        assert abs(now["areas"][name] - area) <= 1 + area / 2000, name
    assert now["truth"].keys() == before["truth"].keys()
    for name, value in before["truth"].items():
        if isinstance(value, float):
            value = pytest.approx(value, rel=1e-4)
        assert now["truth"][name] == value, name
    if record["place"] == place():
        assert now["hash"] == before["hash"]


def test_a_cohort_has_the_bytes_of_the_record_with_one_worker_and_with_two(record, tmp_path):
    table = write_cohort(tmp_path / "one", workers=1, **COHORT)
    write_cohort(tmp_path / "two", workers=2, **COHORT)
    one = contents(tmp_path / "one")
    assert one == contents(tmp_path / "two")
    assert one.keys() == record["files"].keys()
    if record["place"] == place():
        changed = [
            name
            for name, found in files_of(tmp_path / "one").items()
            if record["files"][name] != found
        ]
        assert not changed
    for name in ("effusion", "cardiomegaly", "pneumothorax", "devices", "situs_inversus"):
        assert table[name].nunique() == 2, name  # the cohort shows what it is here for
    assert set(table["view"]) == {"AP", "PA"} and set(table["subtype"].dropna()) == {
        "bacteria",
        "virus",
    }
    assert pd.read_csv(tmp_path / "one" / "metadata.csv").path.tolist() == table.path.tolist()


def test_a_process_that_renders_imports_little():
    "What a worker imports costs as much time as dozens of images."
    code = "from cxr_tutorial.phantom.cohort import _render_patient as task; "
    code += "print(task.__module__)"
    module = subprocess.check_output([sys.executable, "-c", code], text=True).strip()
    code = f"import sys, {module}; print(*sys.modules)"
    imported = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert {"numpy", "scipy.ndimage", module} <= set(imported)
    assert not {"pandas", "matplotlib", "IPython", "torch", "sklearn"} & set(imported)
