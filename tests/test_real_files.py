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


def test_study_on_real_files(tmp_path):
    result = call(
        "train",
        real_data() / "train" if (real_data() / "train").is_dir() else real_data(),
        "--out",
        tmp_path / "study",
    )
    assert result.returncode == 0, result.stderr
    metrics = json.loads((tmp_path / "study" / "metrics.json").read_text())
    assert metrics["auroc"] >= 0.985
    assert (
        metrics["auroc_ci"][0] <= metrics["auroc"] <= metrics["auroc_ci"][1]
        and metrics["auroc_ci"][1] - metrics["auroc_ci"][0] < 0.02
    )
    assert metrics["shared_patients"] == metrics["shared_images"] == 0
    report = (tmp_path / "study" / "report.html").read_text()
    assert not re.search(r"\.jpe?g;base64", report)  # no patient's image in the report


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
    assert (
        "person1565_bacteria_4095.jpeg ~ person1637_bacteria_4339.jpeg"
        in findings["alike-patients"]["files"]
    )
