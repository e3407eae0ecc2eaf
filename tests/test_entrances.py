"""What comes in is checked before the work begins, and nothing that was there is lost.

Every test is about one thing that somebody does or that happens to a computer. The table of faults
in the documentation shows what came out.
"""

import json
import os
import pickle
import shutil
import subprocess
import tempfile
import threading
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from safetensors.torch import load_file, save_file

import cxr_tutorial.files.atomic as atomic
import cxr_tutorial.study.study as study_module
import cxr_tutorial.training as training
from cxr_tutorial.cache.features import cached_features
from cxr_tutorial.cache.images import cached_image_loader, decode_once
from cxr_tutorial.datasets import read_folder
from cxr_tutorial.environment import cache_dir
from cxr_tutorial.files.problems import CohortError
from cxr_tutorial.models import MedicalImageClassifier, load_model, save_model
from cxr_tutorial.splits import split_by_patient
from cxr_tutorial.study.check import check_path
from cxr_tutorial.study.command import main
from cxr_tutorial.study.study import STUDY_FILES, evaluate_model, run_study

QUICK = {"size": 32, "epochs": 1, "draws": 50}
OPTIONS = ("--size", "32", "--epochs", "1", "--draws", "50")


def noise(file: Path, seed: int, size=(32, 40)) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    levels = np.random.default_rng(seed).integers(60, 150, size, dtype=np.uint8)
    Image.fromarray(levels).save(file)


def write_xrays(folder: Path, each: int = 10) -> Path:
    "Noise under file names of the public set, which tell the patients."
    for i in range(1, each + 1):
        noise(folder / "NORMAL" / f"IM-{i:04d}-0001.png", i)
        noise(folder / "PNEUMONIA" / f"person{i}_virus_{i}.png", 1000 + i)
    return folder


def call(*arguments) -> Result:
    return CliRunner().invoke(main, [str(one) for one in arguments])


def told(result: Result) -> str:
    "The lines that are meant for the user."
    lines = [line.split("\r")[-1] for line in result.output.splitlines()]
    return "\n".join(line for line in lines if line.startswith(("Error", "warning", "stopped")))


def refused(result: Result) -> str:
    assert result.exit_code == 1 and "Traceback" not in result.output, result.output
    assert isinstance(result.exception, SystemExit), result.exception
    return told(result)


def names_in(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


@contextmanager
def another_user():
    "The administrator may read and write everything, so look with the eyes of somebody else."
    administrator = os.name == "posix" and os.geteuid() == 0
    if administrator:
        os.seteuid(65534)
    try:
        yield
    finally:
        if administrator:
            os.seteuid(0)


@pytest.fixture
def open_folder():
    "A folder that every user may enter."
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture(scope="module")
def xrays(tmp_path_factory) -> Path:
    return write_xrays(tmp_path_factory.mktemp("entrances") / "xrays")


@pytest.fixture(scope="module")
def study(xrays) -> Path:
    run_study(xrays, xrays.parent / "study", **QUICK)
    return xrays.parent / "study"


@pytest.fixture
def no_training(monkeypatch):
    "Whatever is refused, is refused before the long work."

    def train(*_, **__):
        raise AssertionError("training began")

    monkeypatch.setattr(study_module, "train_model", train)


# --- Work is not lost -----------------------------------------------------------------------------


@pytest.mark.fault("--out DATA --overwrite, and DATA holds a metrics.json", entrance="train")
def test_data_is_never_an_output(tmp_path, saw, no_training):
    data = write_xrays(tmp_path / "data")
    (data / "metrics.json").write_text("{}")
    for out in (data, data / "study", tmp_path):
        result = call("train", data, "--out", out, "--overwrite", *OPTIONS)
        text = refused(result)
        assert len(list(data.rglob("*.png"))) == 20 and not (data / "study").exists()
        if out == data:
            saw("refused", text, left="the X-rays")


@pytest.mark.fault("--out STUDY --overwrite, and STUDY holds images", entrance="train")
def test_a_folder_of_images_is_never_an_output(study, xrays, tmp_path, saw, no_training):
    out = tmp_path / "study"
    for name in STUDY_FILES:
        atomic.write_json({}, out / name)
    noise(out / "figures" / "heart.png", 1)
    text = refused(call("train", xrays, "--out", out, "--overwrite", *OPTIONS))
    assert (out / "figures" / "heart.png").exists()
    saw("refused", text, left="all that was there")


@pytest.mark.fault("--out F --overwrite, and F holds only a metrics.json", entrance="train")
def test_a_folder_with_a_result_of_evaluate_is_no_study(xrays, tmp_path, saw, no_training):
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "metrics.json").write_text('{"auroc": 0.9}')
    text = refused(call("train", xrays, "--out", tmp_path / "f", "--overwrite", *OPTIONS))
    assert (tmp_path / "f" / "metrics.json").read_text() == '{"auroc": 0.9}'
    saw("refused", text, left="all that was there")


@pytest.mark.fault("--out STUDY --overwrite, and notes lie beside its files", entrance="train")
def test_notes_survive_an_overwrite(xrays, tmp_path, saw):
    out = tmp_path / "study"
    run_study(xrays, out, **QUICK)
    (out / "notes.txt").write_text("mine")
    (out / "more").mkdir()
    (out / "more" / "thesis.txt").write_text("mine, too")
    before = (out / "metrics.json").read_text()
    result = call("train", xrays, "--out", out, "--overwrite", "--seed", 1, *OPTIONS)
    assert result.exit_code == 0 and (out / "metrics.json").read_text() != before
    assert (out / "notes.txt").read_text() == "mine"
    assert (out / "more" / "thesis.txt").read_text() == "mine, too"
    assert names_in(out) == sorted([*STUDY_FILES, "notes.txt", "more"])
    saw("works", "only the files of the study are replaced", left="the notes")


@pytest.fixture
def mounted(tmp_path):
    "A small disk of its own. Needs the right to mount one."
    place = tmp_path / "disk"
    place.mkdir()

    def mount(size: str) -> Path:
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
        try:
            done = subprocess.run(command, capture_output=True).returncode == 0
        except OSError:
            done = False
        if not done:
            pytest.skip("this user may not mount a disk")
        return place

    yield mount
    subprocess.run(["umount", str(place)], capture_output=True)


@pytest.mark.fault("--out is a mount point (docker run -v)", entrance="train")
def test_a_mount_point_can_be_the_output(xrays, mounted, saw):
    out = mounted("64m")
    (out / "lost+found").mkdir()
    result = call("train", xrays, "--out", out, *OPTIONS)
    assert result.exit_code == 0, result.output
    assert names_in(out) == sorted([*STUDY_FILES, "lost+found"])
    saw("works", "the results are in it", left="nothing else")


@pytest.mark.fault("the disk of --out is full", entrance="train")
def test_a_full_disk_is_known_before_training(xrays, mounted, saw, no_training):
    out = mounted("6m") / "study"
    text = refused(call("train", xrays, "--out", out, *OPTIONS))
    assert "No space left" in text and not names_in(out.parent)
    saw("refused before training", text)


def test_room_is_kept_during_training(xrays, tmp_path, monkeypatch):
    original, found = study_module.train_model, []

    def train(*arguments):
        found.extend(file.stat().st_size for file in (tmp_path / "study").rglob("room"))
        return original(*arguments)

    monkeypatch.setattr(study_module, "train_model", train)
    run_study(xrays, tmp_path / "study", **QUICK)
    written = sum(file.stat().st_size for file in (tmp_path / "study").iterdir())
    assert found[0] > written and names_in(tmp_path / "study") == sorted(STUDY_FILES)


def test_many_images_are_trained_on_in_larger_steps(xrays, monkeypatch):
    cohort, found = split_by_patient(read_folder(xrays)), []
    monkeypatch.setattr(study_module, "_steps", lambda images: (images - 1, 0.5))

    def fit(head, train, val, lr, **_):
        found.extend([train.batch_size, lr])
        return pd.DataFrame({"train_loss": [0.0]})

    monkeypatch.setattr(study_module, "fit", fit)
    study_module.train_model(cohort, size=32)
    assert found == [(cohort.split == "train").sum() - 1, 0.5]
    monkeypatch.undo()
    assert study_module._steps(1999) == (32, 1e-3) and study_module._steps(2000) == (128, 2e-3)


@pytest.mark.fault("a name of 300 letters for --out", entrance="train")
def test_a_name_too_long_is_known_before_training(xrays, tmp_path, saw, no_training):
    text = refused(call("train", xrays, "--out", tmp_path / ("x" * 300), *OPTIONS))
    assert "too long" in text and not names_in(tmp_path)
    saw("refused before training", text.replace("x" * 300, "x..."))


@pytest.mark.fault("a folder for --out that belongs to somebody else", entrance="train")
def test_a_foreign_folder_is_known_before_training(xrays, open_folder, saw, no_training):
    (open_folder / "theirs").mkdir(mode=0o555)
    with another_user(), pytest.raises(PermissionError) as stopped:
        with atomic.output_folder(open_folder / "theirs" / "study", STUDY_FILES):
            pass
    assert "a folder that is yours" in str(stopped.value)
    saw(stopped.value, str(stopped.value).replace(str(open_folder.resolve()) + "/", ""))


@pytest.mark.fault("4 + 4 patients, too few for an interval", entrance="train")
def test_too_few_patients_are_known_before_training(tmp_path, saw, no_training):
    data = write_xrays(tmp_path / "data", each=4)
    text = refused(call("train", data, "--out", tmp_path / "study", *OPTIONS))
    assert "Nothing has been trained" in text and names_in(tmp_path) == ["data"]
    saw("refused before training", text)


@pytest.mark.fault("something that fails between training and saving", entrance="train")
def test_a_trained_model_outlives_what_follows(xrays, tmp_path, monkeypatch, saw):
    def refuse(*arguments, **options):
        raise ValueError("no interval for these patients")

    monkeypatch.setattr(study_module, "metrics_dict", refuse)
    text = refused(call("train", xrays, "--out", tmp_path / "study", *OPTIONS))
    (kept,) = tmp_path.glob("study-rescued-*.safetensors")
    assert names_in(tmp_path) == [kept.name] and f"the trained model is kept in {kept}" in text
    assert "no interval for these patients" in text
    model, _ = load_model(kept)
    assert model.config["outputs"] == 1
    text = text.replace(str(kept), "a file beside study")
    saw("refused (exit code 1)", text, left="the trained model, in a file of its own")


@pytest.mark.fault("two trainings into one new folder", entrance="train")
def test_a_second_training_into_one_folder_is_refused(xrays, tmp_path, saw, no_training):
    with atomic.output_folder(tmp_path / "study", ("model.txt",)) as begin:  # the first
        text = refused(call("train", xrays, "--out", tmp_path / "study", *OPTIONS))
        (begin() / "model.txt").write_text("weights")
    assert names_in(tmp_path / "study") == ["model.txt"]
    saw("the second is refused before training", text, left="the first one's results")


def test_of_many_claims_exactly_one_succeeds(tmp_path):
    start, claimed = threading.Barrier(8), []

    def claim():
        start.wait()
        try:
            with atomic.output_folder(tmp_path / "study", ("a.txt",)) as begin:
                (begin() / "a.txt").write_text("1")
                claimed.append(1)
        except FileExistsError:
            pass

    threads = [threading.Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(claimed) == 1 and names_in(tmp_path / "study") == ["a.txt"]


@pytest.mark.fault("hidden folders of a study that was killed", entrance="train")
def test_leftovers_of_a_killed_study_are_removed(xrays, tmp_path, saw):
    left = tmp_path / "study" / ".unfinished-12345678"
    left.mkdir(parents=True)
    (left / "room").write_bytes(bytes(1000))
    (tmp_path / "study" / ".lock").touch()
    assert call("train", xrays, "--out", tmp_path / "study", *OPTIONS).exit_code == 0
    assert names_in(tmp_path / "study") == sorted(STUDY_FILES)
    saw("works", "they are removed, because no process holds their lock", left="nothing of them")


def stop_in_epoch(monkeypatch, number: int) -> None:
    original, calls = training.train_epoch, []

    def epoch(*arguments):
        calls.append(1)
        if len(calls) == number:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(training, "train_epoch", epoch)


@pytest.mark.fault("Ctrl-C in the first epoch", entrance="train")
def test_a_stop_in_the_first_epoch(xrays, tmp_path, monkeypatch, saw):
    stop_in_epoch(monkeypatch, 1)
    result = call("train", xrays, "--out", tmp_path / "study", *OPTIONS)
    assert result.exit_code == 130 and not names_in(tmp_path)
    assert "stopped by hand" in told(result)
    saw("exit code 130", told(result).splitlines()[-1])


@pytest.mark.fault("Ctrl-C in a later epoch", entrance="train")
def test_a_stop_in_a_later_epoch(xrays, tmp_path, monkeypatch, saw):
    stop_in_epoch(monkeypatch, 3)
    more = [*OPTIONS, "--epochs", 9, "--finetune", 5]
    result = call("train", xrays, "--out", tmp_path / "study", *more)
    assert result.exit_code == 130 and "training was stopped by hand" in result.output
    metrics = json.loads((tmp_path / "study" / "metrics.json").read_text())
    assert metrics["stopped_by_hand"] and metrics["epochs"] == 2  # no fine-tuning afterwards
    assert "stopped by hand after 2 epoch(s)" in (tmp_path / "study" / "report.html").read_text()
    message = "training was stopped by hand; this is the best epoch so far"
    saw("exit code 130", message, left="the study; metrics and report say so")


@pytest.mark.fault("the disk of --json is full", entrance="evaluate")
def test_a_full_disk_does_not_take_the_result(xrays, study, tmp_path, monkeypatch, saw):
    def full(*_):
        raise OSError(28, "No space left on device", "result.json")

    monkeypatch.setattr(atomic, "write_json", full)
    result = call("evaluate", study, xrays, "--draws", 50, "--json", tmp_path / "r.json")
    assert result.exit_code == 1 and "AUROC" in result.output and "95 % interval" in result.output
    text = told(result).splitlines()[-1]
    assert "No space left" in text and not names_in(tmp_path)
    saw("the result is printed, then exit code 1", text)


@pytest.mark.fault("--json names a device", entrance="evaluate")
def test_a_device_is_not_replaced(xrays, study, saw, monkeypatch):
    monkeypatch.setattr(study_module, "load_model", None)  # nothing begins
    text = refused(call("evaluate", study, xrays, "--json", os.devnull))
    assert not Path(os.devnull).is_file()
    saw("refused before the work", text)


@pytest.mark.fault("--json names an X-ray, or the metrics of a study", entrance="evaluate")
def test_json_replaces_only_results(xrays, study, tmp_path, saw, monkeypatch):
    monkeypatch.setattr(study_module, "load_model", None)  # nothing begins
    noise(tmp_path / "one.png", 1)
    before = (study / "metrics.json").read_bytes()
    refused(call("evaluate", study, xrays, "--json", study / "metrics.json"))
    text = refused(call("evaluate", study, xrays, "--json", tmp_path / "one.png"))
    assert (study / "metrics.json").read_bytes() == before
    assert Image.open(tmp_path / "one.png").size == (40, 32)
    saw("refused before the work", text, left="what was there")


@pytest.mark.fault("--json names an earlier result", entrance="evaluate")
def test_json_replaces_an_earlier_result(xrays, study, tmp_path, saw):
    (tmp_path / "r.json").write_text('{"auroc": 0.1}')
    result = call("evaluate", study, xrays, "--draws", 50, "--json", tmp_path / "r.json")
    assert result.exit_code == 0 and "auprc" in json.loads((tmp_path / "r.json").read_text())
    saw("works", "it is replaced", left="the new result")


@pytest.mark.fault("images of a size that no model file may state", entrance="train")
def test_an_impossible_size_is_known_before_training(xrays, tmp_path, saw, no_training):
    text = refused(call("train", xrays, "--out", tmp_path / "study", "--size", 5000))
    assert not names_in(tmp_path)
    saw("refused before training", text)


# --- A wrong number does not look right -----------------------------------------------------------


@pytest.mark.fault("training images that were saved again", entrance="evaluate")
def test_patients_seen_in_training_are_said(xrays, study, tmp_path, saw):
    for file in xrays.rglob("*.png"):
        again = tmp_path / file.relative_to(xrays).with_suffix(".jpeg")
        again.parent.mkdir(exist_ok=True)
        Image.open(file).save(again, quality=60)
    result = call("evaluate", study, tmp_path, "--draws", 50, "--json", tmp_path / "r.json")
    numbers = json.loads((tmp_path / "r.json").read_text())
    known = pd.read_csv(study / "split.csv")
    assert numbers["seen_in_training"] == 0
    assert numbers["seen_patients"] == (known.split != "test").sum()
    assert result.exit_code == 0 and "not about new patients" in told(result)
    saw("a warning; seen_patients in the result", told(result), left="the result")


def test_ids_that_are_shown_are_compared_as_well(xrays, tmp_path):
    run_study(xrays, tmp_path / "study", show_ids=True, **QUICK)
    known = pd.read_csv(tmp_path / "study" / "split.csv")
    assert known.patient_id.isin(read_folder(xrays).patient_id).all()
    with pytest.warns(UserWarning, match="not about new patients"):
        numbers = evaluate_model(tmp_path / "study", xrays, draws=50)
    assert numbers["seen_patients"] == (known.split != "test").sum()


@pytest.mark.fault("split.csv of another study", entrance="evaluate")
def test_a_split_of_another_study_is_refused(xrays, study, tmp_path, saw):
    for name in STUDY_FILES:
        (tmp_path / name).write_bytes((study / name).read_bytes())
    rows = pd.read_csv(tmp_path / "split.csv")
    rows.assign(split="test").to_csv(tmp_path / "split.csv", index=False)
    with pytest.raises(ValueError, match="does not belong") as stopped:
        evaluate_model(tmp_path, xrays, draws=50)
    saw(stopped.value, left="nothing new")


@pytest.mark.fault("file names that do not tell the patient", entrance="train")
def test_a_doubt_about_the_split_stands_in_the_results(tmp_path, saw):
    for i in range(20):
        noise(tmp_path / "data" / ("NORMAL", "PNEUMONIA")[i % 2] / f"scan {i:02d}.png", i)
    result = call("train", tmp_path / "data", "--out", tmp_path / "study", *OPTIONS)
    assert result.exit_code == 0 and "do not tell the patient" in told(result)
    metrics = json.loads((tmp_path / "study" / "metrics.json").read_text())
    report = (tmp_path / "study" / "report.html").read_text()
    assert "unknown-patients" in [notice["kind"] for notice in metrics["notices"]]
    assert "do not tell the patient" in report and "the model had not seen" not in report
    left = "the study; metrics and report say so"
    saw("a warning", metrics["notices"][0]["problem"], left=left)


def test_a_study_can_be_checked_as_it_is(study):
    level = check_path(study).set_index("kind")["level"]
    assert level["threshold-source"] == level["moved-threshold"] == "passed"  # chosen again
    assert level["patients-on-both-sides"] == level["reported-numbers"] == "passed"


def test_reports_name_no_patient(xrays, study):
    cohort = read_folder(xrays)
    names = {*cohort.patient_id, *(Path(path).name for path in cohort.path)}
    for name in STUDY_FILES[1:]:
        text = (study / name).read_text()
        assert not [one for one in names if one in text], name


# --- Models ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model_file(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_model(MedicalImageClassifier(size=32, pretrained=False), file, {"threshold": 0.5})
    return file


@pytest.fixture
def rewritten(model_file, tmp_path):
    "The model with other facts or weights, as somebody could have written them."

    def write(config=None, extra=None, **weights) -> Path:
        model = MedicalImageClassifier(size=32, pretrained=False)
        facts = {"config": {**model.config, **(config or {})}, "extra": extra or {}}
        changed = {k: v for k, v in {**load_file(model_file), **weights}.items() if v is not None}
        file = tmp_path / "model.safetensors"
        save_file(changed, file, metadata={"cxr_tutorial": json.dumps(facts)})
        return file

    return write


LAST = "head.4.weight"
CHANGES = {
    "a threshold that is not a number": {"extra": {"threshold": float("nan")}},
    "a threshold of 7": {"extra": {"threshold": 7}},
    "a threshold that is a text": {"extra": {"threshold": "0.5"}},
    "an unknown backbone": {"config": {"backbone": "os.system"}},
    "a list for a backbone": {"config": {"backbone": []}},
    "a billion outputs": {"config": {"outputs": 10**9}},
    "a size of a million pixels": {"config": {"size": 10**6}},
    "a standard deviation of zero": {"config": {"std": [0, 1, 1]}},
    "weights that are infinite": {LAST: torch.full((1, 256), float("inf"))},
    "weights of another shape": {LAST: torch.zeros(1, 255)},
    "weights of another type": {LAST: torch.zeros(1, 256, dtype=torch.float64)},
    "weights that are missing": {LAST: None},
    "weights that are unknown": {"more": torch.zeros(3)},
}


@pytest.mark.fault("{case}", entrance="load_model")
@pytest.mark.parametrize("case", CHANGES)
def test_a_model_is_checked(case, rewritten, saw):
    with pytest.raises(ValueError) as stopped:
        load_model(rewritten(**CHANGES[case]))
    assert "model.safetensors" in str(stopped.value)
    saw(stopped.value)


@pytest.mark.fault("a model written with pickle", entrance="load_model")
def test_nothing_is_unpickled(tmp_path, saw):
    class Payload:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "executed",))

    file = tmp_path / "model.safetensors"
    file.write_bytes(pickle.dumps(Payload()))
    with pytest.raises(ValueError) as stopped:
        load_model(file)
    torch.save({"weights": Payload()}, file)
    with pytest.raises(ValueError, match="no safetensors file"):
        load_model(file)
    assert names_in(tmp_path) == ["model.safetensors"]
    saw(stopped.value)


@pytest.mark.fault("a header that promises a tensor of 4 TB", entrance="load_model")
def test_a_lying_header(model_file, tmp_path, saw):
    content = model_file.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    header[LAST] |= {"shape": [2**20, 2**20]}
    text = json.dumps(header).encode()
    file = tmp_path / "model.safetensors"
    file.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + size :])
    with pytest.raises(ValueError, match="damaged") as stopped:
        load_model(file)
    saw(stopped.value)


@pytest.mark.parametrize("length", [0, 7, 100, 5_000, -1])
def test_a_cut_model(model_file, tmp_path, length):
    (tmp_path / "m.safetensors").write_bytes(model_file.read_bytes()[:length])
    with pytest.raises(ValueError, match="damaged"):
        load_model(tmp_path / "m.safetensors")


@pytest.mark.fault("a colleague's model that only the colleague may read", entrance="load_model")
def test_a_model_without_permission(model_file, open_folder, saw):
    file = open_folder / "model.safetensors"
    file.write_bytes(model_file.read_bytes())
    file.chmod(0)
    with another_user(), pytest.raises(PermissionError, match="may not read") as stopped:
        load_model(file)
    saw(stopped.value, str(stopped.value).replace(f"{open_folder}/", ""))


def test_colleagues_may_read_a_saved_model(model_file):
    (model_file.parent / "usual").touch()
    assert model_file.stat().st_mode == (model_file.parent / "usual").stat().st_mode


def test_a_model_of_several_questions_is_no_study(xrays, study, tmp_path):
    save_model(
        MedicalImageClassifier(size=32, outputs=3, pretrained=False),
        tmp_path / "model.safetensors",
        {"threshold": 0.5},
    )
    (tmp_path / "split.csv").write_bytes((study / "split.csv").read_bytes())
    with pytest.raises(ValueError, match="several questions"):
        evaluate_model(tmp_path, xrays, draws=50)


# --- Caches and files -----------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("CXR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.fault("a cache file that was {case}", entrance="cache")
@pytest.mark.parametrize("case", ["emptied", "cut in its header", "cut in its rows", "overwritten"])
def test_a_broken_cache_is_made_again(xrays, cache, case, saw):
    network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten())
    cohort = read_folder(xrays)
    whole = cached_features(network, cached_image_loader(cohort, 32)).arrays()[0]
    files = [*cache.glob("images/*.npy"), *cache.glob("features/*.npy")]
    before = [file.read_bytes() for file in files]
    assert len(files) == 2
    for file, content in zip(files, before, strict=True):
        broken = {"emptied": b"", "cut in its header": content[:50]}
        broken |= {"cut in its rows": content[:-100], "overwritten": b"no array" + content}
        file.write_bytes(broken[case])
    again = cached_features(network, cached_image_loader(cohort, 32)).arrays()[0]
    assert np.array_equal(whole, again) and [file.read_bytes() for file in files] == before
    saw("works", "it is made again, and holds the same", left="a whole file")


@pytest.mark.fault("a cache folder that is read-only", entrance="cache")
def test_a_read_only_cache(xrays, open_folder, monkeypatch, saw):
    cohort = read_folder(xrays)
    monkeypatch.setenv("CXR_CACHE", str(open_folder / "cache"))
    (open_folder / "cache").mkdir(mode=0o555)
    with another_user(), pytest.raises(PermissionError, match="CXR_CACHE") as stopped:
        decode_once(cohort, 32)
    saw(stopped.value, str(stopped.value).replace(f"{open_folder}/", ""))


def test_what_is_in_a_read_only_cache_is_found(xrays, open_folder, monkeypatch):
    monkeypatch.setenv("CXR_CACHE", str(open_folder / "cache"))
    cohort = read_folder(xrays)
    file = decode_once(cohort, 32)
    for folder in (open_folder / "cache" / "images", open_folder / "cache"):
        folder.chmod(0o555)
    with another_user():
        assert decode_once(cohort, 32) == file
    for folder in (open_folder / "cache", open_folder / "cache" / "images"):
        folder.chmod(0o755)


def test_files_are_read_where_nothing_can_be_noted(xrays, open_folder, monkeypatch):
    place, cache = shutil.copytree(xrays, open_folder / "xrays"), open_folder / "cache"
    monkeypatch.setenv("CXR_CACHE", str(cache))
    cohort = read_folder(place)
    (notes,) = (cache / "inspected").glob("*.sqlite")
    cache.chmod(0o555)
    with another_user():
        with pytest.raises(PermissionError):
            notes.read_bytes()
        assert read_folder(place).equals(cohort)
    cache.chmod(0o755)


@pytest.mark.fault("HOME unset, and a user without an entry", entrance="cache")
def test_no_home(monkeypatch, saw):
    import pwd

    def nobody(_):
        raise KeyError("uid not found")

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    monkeypatch.delenv("CXR_CACHE")
    monkeypatch.delenv("HOME", raising=False)
    with pytest.raises(OSError, match="Set CXR_CACHE") as stopped:
        cache_dir()
    saw(stopped.value)


@pytest.mark.fault("a clock that was set back, or files from the future", entrance="cache")
def test_times_of_files_do_not_matter(tmp_path, cache, saw):
    data = write_xrays(tmp_path / "data")
    file = decode_once(read_folder(data), 32)
    for number, image in enumerate(data.rglob("*.png")):
        time = 4_000_000_000 if number % 2 else 300_000_000
        os.utime(image, (time, time))
    os.utime(file, (1, 1))
    before = file.read_bytes()
    noise(data / "NORMAL" / "IM-0001-0001.png", 77)  # another image in place of the old one
    os.utime(data / "NORMAL" / "IM-0001-0001.png", (1, 1))
    other = decode_once(read_folder(data), 32)
    assert other != file and other.read_bytes() != before
    write_xrays(data)
    assert decode_once(read_folder(data), 32) == file and file.read_bytes() == before
    saw("works", "names come from contents, not from times", left="the cache")


def vanish_after_reading(monkeypatch) -> None:
    original = study_module.cohort_from

    def read(*arguments, **options):
        cohort = original(*arguments, **options)
        Path(cohort.path[3]).unlink()
        return cohort

    monkeypatch.setattr(study_module, "cohort_from", read)


@pytest.mark.fault("a file that vanishes while others are read", entrance="train")
def test_a_vanished_file(tmp_path, cache, monkeypatch, saw):
    vanish_after_reading(monkeypatch)
    data = write_xrays(tmp_path / "data")
    text = refused(call("train", data, "--out", tmp_path / "study", *OPTIONS))
    assert "vanished" in text.replace("\n", " ") or "problem" in text
    assert not (tmp_path / "study").exists()
    saw(
        "refused before training",
        "vanished while the folder was read -> put it back, or read again",
    )


@pytest.mark.fault("a file that vanishes while others are read, with --skip-bad", entrance="train")
def test_a_vanished_file_is_skipped(tmp_path, cache, monkeypatch, saw):
    vanish_after_reading(monkeypatch)
    data = write_xrays(tmp_path / "data")
    result = call("train", data, "--out", tmp_path / "study", "--skip-bad", *OPTIONS)
    assert result.exit_code == 0, result.output
    metrics = json.loads((tmp_path / "study" / "metrics.json").read_text())
    assert sum(part["images"] for part in metrics["splits"].values()) == 19
    assert metrics["left_out"] == 1
    assert "could not be used" in (tmp_path / "study" / "report.html").read_text()
    saw("a warning; the others are used", "left out", left="the study; metrics and report say so")


@pytest.mark.fault("a strip of 2000 x 8 pixels", entrance="read_folder")
def test_a_strip(tmp_path, saw):
    data = write_xrays(tmp_path / "data")
    noise(data / "NORMAL" / "IM-0099-0001.png", 1, size=(8, 2000))
    with pytest.raises(CohortError) as stopped:
        read_folder(data)
    assert stopped.value.problems.kind.tolist() == ["too-narrow"]
    saw(stopped.value)


# --- Words instead of tracebacks ------------------------------------------------------------------


def fail_with(monkeypatch, error: BaseException) -> None:
    def train(*_, **__):
        raise error

    monkeypatch.setattr(study_module, "train_model", train)


@pytest.mark.fault("a Python without one of its own modules", entrance="train")
def test_a_missing_part_of_python(xrays, tmp_path, monkeypatch, saw):
    error = ModuleNotFoundError("No module named '_lzma'", name="_lzma")
    fail_with(monkeypatch, error)
    text = refused(call("train", xrays, "--out", tmp_path / "study", *OPTIONS))
    assert "pip install" not in text
    saw("refused", text)


@pytest.mark.fault("less memory than is needed", entrance="train")
def test_out_of_memory(xrays, tmp_path, monkeypatch, saw):
    for error in (MemoryError(), torch.OutOfMemoryError("CUDA out of memory. Tried to ...")):
        fail_with(monkeypatch, error)
        text = refused(call("train", xrays, "--out", tmp_path / "study", *OPTIONS))
        assert not names_in(tmp_path)
    saw("refused", text)


@pytest.mark.fault("a loss that turns NaN", entrance="train")
def test_a_loss_that_is_not_finite(xrays, tmp_path, monkeypatch, saw):
    broken = {"val_loss": float("nan"), "val_auroc": 0.5}
    monkeypatch.setattr(training, "_validate", lambda *_: broken)
    monkeypatch.setattr(training, "train_epoch", lambda *_: 0.7)
    text = refused(call("train", xrays, "--out", tmp_path / "study", *OPTIONS))
    assert "not finite" in text and not names_in(tmp_path)
    saw("refused", text.split("{")[0] + "{...}." + text.split("}.")[-1])


@pytest.mark.fault("control characters in the name of a folder", entrance="train")
def test_names_cannot_steer_the_terminal(tmp_path, saw):
    folder = tmp_path / "x\x1b[2Jrays"
    result = call("train", folder, "--out", tmp_path / "study")
    assert "\x1b" not in result.output and "\\x1b" in refused(result)
    saw("refused", refused(result).split(". Check")[0])


@pytest.mark.fault("patient ids and file names that are formulas or HTML", entrance="train")
def test_formulas_and_html_are_only_text(tmp_path, saw):
    for i in range(20):
        name = f"=1+1 <b>{i:02d}<b>.png"
        noise(tmp_path / "data" / ("NORMAL", "PNEUMONIA")[i % 2] / name, i)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run_study(tmp_path / "data", tmp_path / "study", show_ids=True, **QUICK)
    for name in ("split.csv", "predictions.csv"):
        table = pd.read_csv(tmp_path / "study" / name)
        assert table.patient_id.str.startswith("'=1+1 <b>").all()
    assert table.file.str.startswith("'=1+1").all()
    assert "<b>0" not in (tmp_path / "study" / "report.html").read_text()
    saw("works", "an apostrophe before the formula, escapes in the page", left="the study")
