"""The command, as somebody types it, with good, bad and missing files."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image

from cxr_tutorial.datasets import read_folder
from cxr_tutorial.dev.command import main

SMALL = ("--draws", "100", "--size", "64", "--epochs", "3")


def call(*arguments, **options) -> subprocess.CompletedProcess:
    "In a process of its own."
    return subprocess.run(
        [sys.executable, "-m", "cxr_tutorial.dev.command", *map(str, arguments)],
        capture_output=True,
        text=True,
        **options,
    )


def call_here(*arguments) -> subprocess.CompletedProcess:
    "The same in this process, which has the libraries in memory already."
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    if not isinstance(result.exception, SystemExit | None):
        raise result.exception
    return subprocess.CompletedProcess(arguments, result.exit_code, result.stdout, result.stderr)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "cohort"
    result = call("phantom", folder, "--patients", 40, "--size", 96, 120, "--seed", 5)
    assert result.returncode == 0, result.stderr
    assert "40 simulated patients" in result.stdout
    return folder


@pytest.fixture(scope="module")
def study(cohort, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("study") / "model"
    result = call("train", cohort, "--out", out, *SMALL)
    assert result.returncode == 0, result.stderr
    assert "AUROC" in result.stdout and "Not for clinical use" in result.stdout
    return out


def test_phantom_settings_reach_the_files(tmp_path):
    settings = ("--sites", 2, "--site-shortcut", 1, "--label-noise", 0.2, "--masks")
    result = call_here(
        "phantom",
        tmp_path / "c",
        "--patients",
        20,
        "--images-per-patient",
        1,
        "--size",
        64,
        80,
        *settings,
    )
    assert result.returncode == 0, result.stderr
    truth = pd.read_csv(tmp_path / "c" / "metadata.csv")
    assert (truth.site == truth.true_label).all() and (truth.label != truth.true_label).sum() == 4
    cohort = read_folder(tmp_path / "c")  # masks are not taken for X-rays
    assert len(cohort) == 20 and cohort.site.notna().all()
    mask = tmp_path / "c" / "masks" / truth.path[0].replace(".jpeg", ".lungs.png")
    assert set(np.unique(Image.open(mask))) == {0, 255}


@pytest.mark.parametrize(
    "option", [("--site-shortcut", 0.5), ("--label-noise", 0.7), ("--severity", 1.0, 0.5)]
)
def test_phantom_says_what_is_wrong(tmp_path, option):
    result = call_here("phantom", tmp_path / "c", *option)
    assert result.returncode and "Traceback" not in result.stderr and not list(tmp_path.iterdir())
    assert option[0].strip("-") in result.stderr.replace("_", "-")


def test_large_pictures_are_large_and_different(tmp_path):
    assert (
        call_here(
            "phantom", tmp_path / "c", "--patients", 6, "--images-per-patient", 1, "--large"
        ).returncode
        == 0
    )
    sizes = [Image.open(f).size for f in (tmp_path / "c").rglob("*.jpeg")]
    assert (
        len(set(sizes)) == len(sizes) == 6
        and min(w for w, _ in sizes) >= 700
        and all(w > h for w, h in sizes)
    )


def test_entry_point_answers():
    result = subprocess.run(
        [Path(sys.executable).with_name("cxr-tutorial"), "--help"], capture_output=True, text=True
    )
    assert result.returncode == 0 and "evaluate" in result.stdout


def test_train_writes_what_it_promises(study):
    metrics = json.loads((study / "metrics.json").read_text())
    wanted = (
        "auroc auroc_ci auprc sensitivity specificity threshold brier n_images n_patients seconds"
    )
    assert set(wanted.split()) <= set(metrics)
    assert metrics["shared_patients"] == metrics["shared_images"] == 0
    assert json.loads((study / "config.json").read_text())["backbone"] == "efficientnet_lite0"
    report = (study / "report.html").read_text()
    assert (
        "Not for clinical use" in report
        and f"{metrics['auroc']:.3f}" in report
        and "<img alt=" in report
    )


def test_same_seed_same_model(cohort, study, tmp_path):
    assert call("train", cohort, "--out", tmp_path / "again", *SMALL).returncode == 0
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == (
        study / "model.safetensors"
    ).read_bytes()
    assert (tmp_path / "again" / "predictions.csv").read_bytes() == (
        study / "predictions.csv"
    ).read_bytes()


@pytest.mark.parametrize("layout", ["direct", "one level down", "splits"])
def test_evaluate_takes_every_layout(cohort, study, tmp_path, layout):
    folder = tmp_path / "data"
    if layout == "splits":
        shutil.copytree(cohort, folder)
    else:
        shutil.copytree(cohort / "train", folder if layout == "direct" else folder / "hospital")
    result = call_here(
        "evaluate", study, folder, "--json", tmp_path / "deep" / "result.json", "--draws", 100
    )
    assert result.returncode == 0, result.stderr
    metrics = json.loads((tmp_path / "deep" / "result.json").read_text())
    assert (
        metrics["n_images"] == len(list(folder.rglob("*.jpeg"))) and metrics["seen_in_training"] > 0
    )
    assert "not about new patients" in result.stderr


def test_missing_folder(tmp_path):
    result = call("train", tmp_path / "nowhere", "--out", tmp_path / "out")
    assert (
        result.returncode == 1
        and "nowhere is not a folder" in result.stderr
        and "Traceback" not in result.stderr
    )
    assert not (tmp_path / "out").exists()


def test_empty_class(cohort, tmp_path):
    shutil.copytree(cohort / "train", tmp_path / "data")
    for file in (tmp_path / "data" / "NORMAL").iterdir():
        file.unlink()
    result = call_here("train", tmp_path / "data", "--out", tmp_path / "out")
    assert (
        result.returncode == 1
        and "NORMAL" in result.stderr
        and "empty" in result.stderr
        and "Traceback" not in result.stderr
    )


def test_missing_class(cohort, tmp_path):
    shutil.copytree(cohort / "train" / "NORMAL", tmp_path / "data" / "NORMAL")
    result = call_here("train", tmp_path / "data", "--out", tmp_path / "out")
    assert result.returncode == 1 and "PNEUMONIA" in result.stderr and "missing" in result.stderr


def test_unreadable_file_is_named_and_can_be_skipped(cohort, study, tmp_path):
    shutil.copytree(cohort / "train", tmp_path / "data")
    victim = sorted((tmp_path / "data" / "PNEUMONIA").iterdir())[0]
    victim.write_bytes(victim.read_bytes()[:500])
    result = call_here(
        "evaluate", study, tmp_path / "data", "--json", tmp_path / "r.json", "--draws", 100
    )
    assert (
        result.returncode == 1
        and victim.name in result.stderr
        and "copy it again" in result.stderr
        and not (tmp_path / "r.json").exists()
    )
    result = call_here(
        "evaluate",
        study,
        tmp_path / "data",
        "--json",
        tmp_path / "r.json",
        "--draws",
        100,
        "--skip-bad",
    )
    assert result.returncode == 0 and victim.name in result.stderr
    assert (
        json.loads((tmp_path / "r.json").read_text())["n_images"]
        == len(list((tmp_path / "data").rglob("*.jpeg"))) - 1
    )


@pytest.mark.skipif(
    os.name == "posix" and os.geteuid() == 0, reason="the administrator may read every file"
)
def test_file_without_permission_is_named(cohort, tmp_path):
    shutil.copytree(cohort / "train", tmp_path / "data")
    victim = sorted((tmp_path / "data" / "NORMAL").iterdir())[0]
    victim.chmod(0)
    result = call_here("train", tmp_path / "data", "--out", tmp_path / "out")
    assert result.returncode == 1 and victim.name in result.stderr


def test_nothing_is_overwritten(cohort, study, tmp_path):
    before = {f.name: f.read_bytes() for f in study.iterdir()}
    result = call_here("train", cohort, "--out", study)
    assert result.returncode == 1 and "exists already" in result.stderr
    result = call_here("phantom", cohort)
    assert result.returncode == 1 and "exists already" in result.stderr
    (tmp_path / "empty").mkdir()
    result = call_here(
        "train", tmp_path / "empty", "--out", study, "--overwrite"
    )  # fails after the check of the output folder
    assert result.returncode == 1
    assert {f.name: f.read_bytes() for f in study.iterdir()} == before


def test_unknown_file_names_are_reported(cohort, study, tmp_path):
    for label in ("NORMAL", "PNEUMONIA"):
        (tmp_path / "data" / label).mkdir(parents=True)
        for i, file in enumerate(sorted((cohort / "train" / label).iterdir())):
            shutil.copy(file, tmp_path / "data" / label / f"2024_{label}{i // 2}_{i}.jpeg")
    result = call_here("evaluate", study, tmp_path / "data", "--draws", 100)
    assert result.returncode == 0 and "do not tell the patient" in result.stderr
    result = call_here(
        "evaluate",
        study,
        tmp_path / "data",
        "--draws",
        100,
        "--patient-pattern",
        r"2024_(\w+?)_",
        "--json",
        tmp_path / "r.json",
    )
    assert result.returncode == 0 and "do not tell the patient" not in result.stderr
    metrics = json.loads((tmp_path / "r.json").read_text())
    assert metrics["n_patients"] < metrics["n_images"]


def test_evaluate_without_model(tmp_path, cohort):
    result = call_here("evaluate", tmp_path, cohort)
    assert result.returncode == 1 and "model.safetensors does not exist" in result.stderr


def test_run_of_a_failing_chapter(tmp_path):
    import nbformat

    (tmp_path / "course").mkdir()
    nbformat.write(
        nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("assert False, 'absent'")]),
        tmp_path / "course" / "00_environment.ipynb",
    )
    result = call("run", "--notebooks", tmp_path, "--out", tmp_path / "out")
    assert (
        result.returncode == 1
        and "course/00_environment, cell 1 failed with AssertionError: absent" in result.stderr
    )
    assert (
        tmp_path / "out" / "notebooks" / "course" / "00_environment.ipynb"
    ).exists()  # to look at


def test_audit_reports_and_writes(cohort, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(cohort, folder)
    (folder / "train" / "NORMAL" / "IM-9999-0001.jpeg").write_bytes(b"no picture")
    source = sorted((folder / "train" / "PNEUMONIA").iterdir())[0]
    shutil.copy(source, folder / "test" / "PNEUMONIA" / "person9999_virus_1.jpeg")
    result = call_here("audit", folder, "--json", tmp_path / "out" / "audit.json")
    assert result.returncode == 0, result.stderr
    report = json.loads((tmp_path / "out" / "audit.json").read_text())
    findings = {f["kind"]: f for f in report["findings"]}
    assert findings["unusable-files"]["files"] == ["IM-9999-0001.jpeg"]
    assert source.name in findings["identical-split"]["files"][0]
    assert "person9999_virus_1.jpeg" in result.stdout
    assert call_here("audit", tmp_path / "nothing").returncode == 1
