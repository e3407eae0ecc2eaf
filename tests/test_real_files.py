"""The public pneumonia set, read in place where a machine has it."""

import json
import re
from pathlib import Path

import pytest
from conftest import needs_real_data, real_data
from test_cli import call

from cxr_tutorial.datasets import read_folder
from cxr_tutorial.splits import leakage_report, split_by_patient

pytestmark = needs_real_data


@pytest.fixture(scope="module")
def cohort():
    return read_folder(real_data())


def test_all_names_are_understood(cohort, recwarn):
    assert len(cohort) == len([f for f in real_data().rglob("*.jpeg")])
    assert not [w for w in recwarn if "do not tell the patient" in str(w.message)]
    ids = cohort.patient_id.str.fullmatch(r"person\d+_(bacteria|virus)|(NORMAL2-)?IM-\d+")
    assert ids.all() and cohort.patient_id.nunique() == 3654  # number and subtype
    assert (cohort.label == 1).equals(cohort.patient_id.str.startswith("person"))
    assert (
        cohort[cohort.label == 1].subtype.isin(["bacteria", "virus"]).all()
        and cohort[cohort.label == 0].subtype.isna().all()
    )


def test_patients_have_many_images_and_the_usual_one_liner_is_wrong(cohort):
    per_patient = cohort.groupby("patient_id").size()
    assert per_patient.max() >= 20 and per_patient.mean() > 1.4
    normal = cohort[cohort.label == 0]
    assert (
        normal.path.map(lambda p: Path(p).name.split("_")[0]).nunique()
        == len(normal)
        > normal.patient_id.nunique()
    )


def test_split_does_not_leak(cohort):
    split = split_by_patient(cohort)
    assert not leakage_report(split)["count"].any()
    shares = split.groupby("split").label.mean()
    assert shares.max() - shares.min() < 0.08


def test_identical_images_share_a_group(cohort):
    assert cohort.duplicated("image_hash").any()
    assert (cohort.groupby("image_hash").group_id.nunique() == 1).all()


def check_study(folder: Path, out: Path, auroc: float, width: float) -> None:
    "Train on a folder, and look at what comes out."
    result = call("train", folder, "--out", out)
    assert result.returncode == 0, result.stderr
    metrics = json.loads((out / "metrics.json").read_text())
    low, high = metrics["auroc_ci"]
    assert low <= metrics["auroc"] <= high and high - low < width
    assert metrics["auroc"] >= auroc, f"{metrics['auroc']:.3f}"
    assert metrics["shared_patients"] == metrics["shared_images"] == 0
    report = (out / "report.html").read_text()
    assert not re.search(r"\.jpe?g;base64", report)  # no patient's image in the report


def test_study_on_some_real_files(cohort, tmp_path):
    "Every seventh patient."
    ids = sorted(cohort.patient_id.unique())[::7]
    for row in cohort[cohort.patient_id.isin(ids)].itertuples():
        link = tmp_path / "some" / ("PNEUMONIA" if row.label else "NORMAL") / Path(row.path).name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(row.path)
    check_study(tmp_path / "some", tmp_path / "study", auroc=0.95, width=0.1)


@pytest.mark.slow
def test_study_on_all_real_files(tmp_path):
    folder = real_data() / "train"
    folder = folder if folder.is_dir() else real_data()
    check_study(folder, tmp_path / "study", auroc=0.985, width=0.02)


def test_audit_names_identical_images_and_what_the_file_size_tells(cohort, tmp_path):
    result = call("audit", real_data(), "--json", tmp_path / "audit.json")
    assert result.returncode == 0, result.stderr
    report = json.loads((tmp_path / "audit.json").read_text())
    findings = {f["kind"]: f for f in report["findings"]}
    assert "file size 0.9" in findings["file-size"]["evidence"]
    assert findings["file-size"]["level"] == "look"  # encoded alike: it is about the content
    copies = cohort[cohort.duplicated("image_hash", keep=False)]
    named = " ".join(
        name for f in findings.values() if f["kind"].startswith("identical") for name in f["files"]
    )
    assert len(copies) and all(
        Path(p).name in named and Path(p).name in result.stdout for p in copies.path
    )
    assert findings["identical-one-patient"]["evidence"] == "26 pair(s)"
    assert findings["alike-patients"]["files"] == [
        "person1565_bacteria_4095.jpeg ~ person1637_bacteria_4339.jpeg"
    ]
    assert not [kind for kind in findings if kind.startswith(("altered", "near-identical"))]
