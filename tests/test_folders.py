"""Folders as they come: public layouts, and what can be wrong with a folder of X-rays."""

import os
import re
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cxr_tutorial.audit.report import audit, describe_audit
from cxr_tutorial.datasets import read_folder
from cxr_tutorial.files import folders
from cxr_tutorial.files.folders import about
from cxr_tutorial.files.problems import CohortError, CohortWarning
from cxr_tutorial.splits import LeakageError, assert_no_leakage


def image(path: Path, seed: int = 0) -> None:
    "A small image of noise; any other file holds a question mark."
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() in (".png", ".jpg", ".jpeg"):
        grey = np.random.default_rng(seed).integers(0, 255, (40, 32), dtype=np.uint8)
        Image.fromarray(grey).save(path)
    else:
        path.write_bytes(b"?")


def make(folder: Path, *names: str) -> Path:
    "Files below a folder; `a/{3}.png` stands for three of them."
    seed = 0
    for name in names:
        count = re.search(r"\{(\d+)\}", name)
        for number in range(1, int(count[1]) + 1) if count else [1]:
            seed += 1
            image(folder / re.sub(r"\{\d+\}", str(number), name), seed)
    return folder


def cohort(folder: Path) -> Path:
    "The smallest folder that is in order."
    return make(folder, "NORMAL/IM-000{3}-0001.png", "PNEUMONIA/person{3}_virus_1.png")


def read(folder: Path, **options) -> tuple:
    "What `read_folder` returns, and the kinds of what it says: warnings, and masks in `about`."
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        table = read_folder(folder, workers=1, **options)
    said = [w.message for w in caught if isinstance(w.message, CohortWarning)]
    kinds = [kind for warning in said for kind in warning.problems.kind]
    assert "masks" not in kinds, "a folder with masks is nothing to be warned of"
    noted = [notice["kind"] for notice in about(table)["notices"]]
    return table, kinds + [kind for kind in noted if kind == "masks"]


NORMAL, ILL = "NORMAL/IM-000{2}-0001.png", "PNEUMONIA/person{2}_virus_1.png"
RADIOGRAPHY = [f"{name}/{part}/{name}-{{2}}.png" for name in ("Normal", "Viral Pneumonia", "COVID")
               for part in ("images", "masks")]  # fmt: skip
READ = {  # a public layout: its files, options, images per label, parts, and what is said
    "Kermany, version 2": (
        [f"{part}/{names}" for part in ("train", "val", "test") for names in (NORMAL, ILL)],
        {}, (6, 6), {"train": 4, "val": 4, "test": 4}, []),
    "Kermany, version 3": (
        ["chest_xray/train/NORMAL/NORMAL-100{2}-0001.png",
         "chest_xray/train/PNEUMONIA/BACTERIA-200{2}-0001.png",
         "chest_xray/test/NORMAL/NORMAL-300{2}-0001.png",
         "chest_xray/test/PNEUMONIA/VIRUS-400{2}-0001.png"],
        {}, (4, 4), {"train": 4, "test": 4}, []),
    "two class folders": ([NORMAL, ILL], {}, (2, 2), {}, []),
    "Kaggle, unpacked in a folder of its own": (
        [f"archive/chest_xray/chest_xray/train/{names}" for names in (NORMAL, ILL)]
        + ["archive/chest_xray/__MACOSX/chest_xray/train/NORMAL/._IM-0001-0001.png"],
        {}, (2, 2), {"train": 4}, []),
    "Kaggle, doubled": (
        [f"{again}train/{names}" for again in ("", "chest_xray/") for names in (NORMAL, ILL)],
        {}, (2, 2), {"train": 4}, ["doubled-folder"]),
    "COVID-19 Radiography Database, classes named": (
        [*RADIOGRAPHY, "Normal.metadata.xlsx"],
        {"classes": {"normal": 0, "viral pneumonia": 1}, "patient_pattern": r"(.+)"},
        (2, 2), {}, ["sub-folder", "masks", "sub-folder", "masks", "other-class"]),
    "COVID-QU-Ex, classes named": (
        [f"Lung Segmentation Data/Lung Segmentation Data/{part}/{name}/{kind}/{name}_{{1}}.png"
         for part in ("Train", "Val") for name in ("COVID-19", "Normal")
         for kind in ("images", "lung masks")],
        {"classes": {"COVID-19": 1, "Normal": 0}, "patient_pattern": r"(.+)"},
        (2, 2), {"train": 2, "val": 2}, ["sub-folder", "masks"] * 4),
    "COVID, pneumonia, normal (PA)": (
        ["covid/c{2}.jpg", "normal/n{2}.jpg", "pneumonia/p{2}.jpg"],
        {}, (2, 2), {}, ["other-class", "unknown-patients"]),
    "COVID-19 and pneumonia in Data/train": (
        [f"Data/train/{name}/{name}_{{2}}.jpg" for name in ("COVID19", "NORMAL", "PNEUMONIA")],
        {"patient_pattern": r"(.+)"}, (2, 2), {"train": 4}, ["other-class"]),
    "RSNA sorted into folders, classes named": (
        [f"{name}/{key}-{{2}}.png" for key, name in
         enumerate(["Lung_Opacity", "Normal", "No Lung Opacity - Not Normal"])],
        {"classes": {"lung opacity": 1, "normal": 0, "no lung opacity not normal": 0}},
        (4, 2), {}, ["unknown-patients"]),
    "TB Chest Radiography Database, classes named": (
        ["Normal/Normal-{2}.png", "Tuberculosis/Tuberculosis-{2}.png", "Normal.metadata.xlsx"],
        {"classes": {"Normal": 0, "Tuberculosis": 1}}, (2, 2), {}, ["unknown-patients"]),
    "Keras, labels as names": (
        ["train/0/a{2}.png", "train/1/b{2}.png", "validation/0/c{2}.png", "validation/1/d{2}.png"],
        {"classes": {"0": 0, "1": 1}}, (4, 4), {"train": 4, "val": 4}, ["unknown-patients"]),
    "other languages": (
        ["sano/a{2}.png", "neumonía/b{2}.png"],
        {"classes": {"sano": 0, "Neumonía": 1}}, (2, 2), {}, ["unknown-patients"]),
    "NIH sorted into folders, classes named": (
        ["No Finding/0000{2}_000.png", "Pneumonia/0001{2}_000.png"],
        {"classes": {"no_finding": 0, "pneumonia": 1}, "patient_pattern": r"(\d+)_"},
        (2, 2), {}, []),
    "Roboflow": (
        [f"{part}/{names}" for part in ("train", "valid", "test") for names in (NORMAL, ILL)]
        + ["README.roboflow.txt"], {}, (6, 6), {"train": 4, "val": 4, "test": 4}, []),
    "Training, Validation, Testing": (
        [f"{part}/{names}" for part in ("Training", "Validation", "Testing")
         for names in (NORMAL, ILL)], {}, (6, 6), {"train": 4, "val": 4, "test": 4}, []),
    "train_images and test_images": (
        [f"{part}/{names}" for part in ("train_images", "dev-set", "test_images")
         for names in (NORMAL, ILL)], {}, (6, 6), {"train": 4, "val": 4, "test": 4}, []),
    "class first, then the part": (
        [names.replace("/", f"/{part}/") for part in ("train", "test") for names in (NORMAL, ILL)],
        {}, (4, 4), {"train": 4, "test": 4}, []),
    "subtypes inside a class": (
        [NORMAL, "PNEUMONIA/bacteria/person{2}_bacteria_1.png",
         "PNEUMONIA/virus/person{2}_virus_1.png"], {}, (2, 4), {}, ["sub-folder"]),
    "a folder for each patient": (
        ["NORMAL/patient{2}/1.png", "PNEUMONIA/patient9/1.png"],
        {"patient_pattern": r"/(patient\d+)/"}, (2, 1), {}, ["sub-folder", "sub-folder"]),
    "two hospitals": (
        [f"{site}/{names}" for site in ("A", "B") for names in (NORMAL, ILL)],
        {}, (4, 4), {}, []),
    "masks beside the images": (
        [NORMAL, ILL, "NORMAL/IM-000{2}-0001_mask.png", "PNEUMONIA/mask_person1_virus_1.png"],
        {}, (2, 2), {}, ["masks", "masks"]),
    "masks in a folder beside the images": (
        [f"{part}/{names}" for part in ("images", "masks") for names in (NORMAL, ILL)],
        {}, (2, 2), {}, ["masks"]),
    "class folders that differ by capital letters": (
        [NORMAL, ILL, "Normal/IM-0009-0001.png"], {}, (3, 2), {}, ["twins-by-case"]),
    "what systems leave behind": (
        [NORMAL, ILL, ".DS_Store", "NORMAL/.DS_Store", "NORMAL/Thumbs.db", "NORMAL/desktop.ini",
         "NORMAL/._IM-0001-0001.png", "PNEUMONIA/@eaDir/person1_virus_1.png/SYNOPHOTO.jpg",
         "PNEUMONIA/.ipynb_checkpoints/person1_virus_1-checkpoint.png", "__MACOSX/NORMAL/._a.png"],
        {}, (2, 2), {}, []),
    "a second hospital further down": (
        [NORMAL, ILL, f"other/2020/{NORMAL}", f"other/2020/{ILL}"],
        {}, (2, 2), {}, ["deeper-classes"]),
    "images beside the class folders": (
        [NORMAL, ILL, "cover.png"], {}, (2, 2), {}, ["loose-images"]),
    "a part of an unusual name": (
        [f"{part}/{names}" for part in ("train", "hospital B") for names in (NORMAL, ILL)],
        {}, (4, 4), {"train": 4}, ["unknown-part"]),
}  # fmt: skip


@pytest.mark.parametrize("layout", READ)
def test_public_layout_is_read(tmp_path, layout):
    names, options, (negative, positive), parts, kinds = READ[layout]
    table, said = read(make(tmp_path / "x", *names), **options)
    assert [(table.label == 0).sum(), (table.label == 1).sum()] == [negative, positive]
    assert table.split.value_counts().to_dict() == parts
    assert sorted(said) == sorted(kinds)
    assert not any("mask" in Path(path).as_posix().lower() for path in table.path)


CLASSES, TABLE = "classes={'clear': 0, 'covid': 1}", "`as_cohort`"
REFUSED = {  # a public layout: its files, the error, and the remedy that it names
    "COVID-19 Radiography Database": (RADIOGRAPHY, CohortError, CLASSES),
    "COVID-QU-Ex": (
        ["Data/Train/COVID-19/images/1.png", "Data/Train/Non-COVID/images/1.png",
         "Data/Train/Normal/images/1.png"], CohortError, "here are COVID-19, Non-COVID, Normal"),
    "COVID, normal, viral pneumonia": (
        ["train/Covid/1.jpg", "train/Normal/1.jpg", "train/Viral Pneumonia/1.jpg"],
        CohortError, CLASSES),
    "RSNA sorted into folders": (
        ["Lung_Opacity/1.png", "No Lung Opacity/1.png"], FileNotFoundError, CLASSES),
    "TB Chest Radiography Database": (
        ["Normal/1.png", "Tuberculosis/1.png"], CohortError, "here are Normal, Tuberculosis"),
    "NIH ChestX-ray14": (
        ["images_001/images/00000001_000.png", "Data_Entry_2017_v2020.csv"],
        FileNotFoundError, TABLE),
    "NIH sorted into folders": (
        ["No Finding/1.png", "Pneumonia/1.png"], CohortError, "here are No Finding, Pneumonia"),
    "RSNA pneumonia": (
        ["stage_2_train_images/1.dcm", "stage_2_train_labels.csv"], FileNotFoundError, TABLE),
    "CheXpert": (
        ["train/patient00001/study1/view1_frontal.jpg", "train.csv"], FileNotFoundError, TABLE),
    "MIMIC-CXR-JPG": (
        ["files/p10/p10000032/s50414267/1.jpg", "mimic-cxr-2.0.0-chexpert.csv.gz"],
        FileNotFoundError, TABLE),
    "PadChest": (
        ["0/1.png", "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv"],
        FileNotFoundError, TABLE),
    "VinDr-CXR": (
        ["train/1.dicom", "test/2.dicom", "annotations/image_labels_train.csv"],
        FileNotFoundError, TABLE),
    "COVIDx": (["train/1.png", "test/2.png", "train.txt"], FileNotFoundError, TABLE),
    "COVID-19 image data collection": (
        ["images/1.jpg", "metadata.csv"], FileNotFoundError, TABLE),
    "Shenzhen": (
        ["CXR_png/CHNCXR_0001_0.png", "ClinicalReadings/CHNCXR_0001_0.txt"],
        FileNotFoundError, TABLE),
    "Montgomery": (
        ["CXR_png/MCUCXR_0001_0.png", "ManualMask/leftMask/MCUCXR_0001_0.png"],
        FileNotFoundError, TABLE),
    "JSRT": (["JPCLN001.png", "JPCNN001.png"], FileNotFoundError, TABLE),
    "BIMCV": (["sub-S1/ses-E1/mod-rx/1.png"], FileNotFoundError, TABLE),
    "MedMNIST": (["pneumoniamnist.npz"], FileNotFoundError, TABLE),
    "Hugging Face": (["data/train-00000-of-00001.parquet"], FileNotFoundError, TABLE),
    "Keras": (["train/0/a.png", "train/1/b.png"], FileNotFoundError, TABLE),
    "not unpacked": (["chest-xray-pneumonia.zip"], FileNotFoundError, "unpack it first"),
    "Kermany with the OCT images": (
        ["OCT/train/NORMAL/1.png", "OCT/train/CNV/1.png", f"chest_xray/train/{NORMAL}",
         f"chest_xray/train/{ILL}"], CohortError, "here are CNV, NORMAL"),
    "a class inside the other": (
        [NORMAL, ILL, f"PNEUMONIA/{NORMAL}"], CohortError, "an image is in one class"),
    "side files in a class": (
        [NORMAL, ILL, "PNEUMONIA/reading.txt"], CohortError, "move it elsewhere"),
}  # fmt: skip


@pytest.mark.parametrize("layout", REFUSED)
def test_public_layout_is_refused_with_a_remedy(tmp_path, layout):
    names, error, remedy = REFUSED[layout]
    with pytest.raises(error) as stopped:
        read(make(tmp_path / "x", *names))
    assert remedy in str(stopped.value)


@pytest.mark.fault("the folder of one class instead of both", entrance="read_folder")
def test_class_folder_itself(tmp_path, saw):
    with pytest.raises(FileNotFoundError, match="Point to the folder that holds") as stopped:
        read_folder(cohort(tmp_path) / "NORMAL")
    saw(stopped.value)


@pytest.mark.fault("class folders of other names", entrance="read_folder")
def test_other_class_names(tmp_path, saw):
    make(tmp_path, "clear/{2}.png", "covid/{2}.png")
    with pytest.raises(FileNotFoundError, match="--class clear=0") as stopped:
        read_folder(tmp_path)
    for wrong in ({"clear": 0}, {"clear": 0, "Clear": 1}, {"clear": 0, "covid": 2}):
        with pytest.raises(ValueError, match="labels 0 and 1"):
            read_folder(tmp_path, classes=wrong)
    with pytest.raises(CohortError, match="flu: class folder is missing"):
        read_folder(tmp_path, classes={"clear": 0, "covid": 1, "flu": 1})
    saw(stopped.value)


@pytest.mark.fault("both class folders empty", entrance="read_folder")
def test_nothing_in_the_class_folders(tmp_path, saw):
    (tmp_path / "NORMAL").mkdir()
    (tmp_path / "PNEUMONIA").mkdir()
    for on_problem in ("raise", "skip"):
        with pytest.raises(CohortError) as stopped:
            read_folder(tmp_path, on_problem=on_problem)
        assert stopped.value.problems.kind.tolist() == ["empty-class"] * 2
    saw(stopped.value)


@pytest.mark.fault("links that lead nowhere (git-annex, DVC)", entrance="read_folder")
def test_dangling_links(tmp_path, saw):
    cohort(tmp_path)
    link = tmp_path / "NORMAL" / "IM-0009-0001.png"
    link.symlink_to("../.git/annex/objects/9")
    with pytest.raises(CohortError, match="git annex get") as stopped:
        read_folder(tmp_path)
    assert stopped.value.problems.kind.tolist() == ["dangling-link"]
    table, said = read(tmp_path, on_problem="skip")
    assert len(table) == 6 and said == ["dangling-link"]
    saw(stopped.value)


def test_nothing_but_dangling_links(tmp_path):
    for name in ("NORMAL", "PNEUMONIA"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").symlink_to("nowhere")
    with pytest.raises(CohortError) as stopped:
        read_folder(tmp_path, on_problem="skip")
    kinds = stopped.value.problems.kind.tolist()
    assert kinds == ["dangling-link"] * 2 + ["no-image-left"] * 2


@pytest.mark.fault("links that go round", entrance="read_folder")
def test_links_that_go_round(tmp_path, saw):
    cohort(tmp_path)
    (tmp_path / "NORMAL" / "up").symlink_to(tmp_path)
    (tmp_path / "self").symlink_to("self")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        table = read_folder(tmp_path)
    assert len(table) == 6
    saw("read; the link is left alone", str(caught[0].message))


def test_a_link_to_a_class_is_followed_once(tmp_path):
    cohort(tmp_path / "far")
    (tmp_path / "near").mkdir()
    for name in ("NORMAL", "PNEUMONIA"):
        (tmp_path / "near" / name).symlink_to(tmp_path / "far" / name)
    table, said = read(tmp_path / "near")
    assert len(table) == 6 and not said


def test_a_class_may_be_a_link_into_the_same_folder(tmp_path):
    make(tmp_path, "all/n/IM-000{2}-0001.png", "all/p/person{2}_virus_1.png")
    (tmp_path / "NORMAL").symlink_to("all/n")
    (tmp_path / "PNEUMONIA").symlink_to("all/p")
    table, said = read(tmp_path)
    assert table.label.tolist() == [0, 0, 1, 1] and set(said) == {"folder-loop"}


def test_the_folder_may_be_named_in_any_way(tmp_path, monkeypatch):
    cohort(tmp_path / "x" / "train")
    monkeypatch.chdir(tmp_path / "x" / "train")
    for folder in (".", "..", "../train/", tmp_path / "x"):
        assert len(read(folder)[0]) == 6


@pytest.mark.fault("a file name that is not UTF-8", entrance="read_folder")
def test_name_that_is_not_utf8(tmp_path, saw):
    cohort(tmp_path)
    try:
        os.rename(
            tmp_path / "NORMAL" / "IM-0001-0001.png", os.fsencode(tmp_path) + b"/NORMAL/\xe9.png"
        )
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    with pytest.raises(CohortError, match="rename it") as stopped:
        read_folder(tmp_path)
    assert str(stopped.value).encode() and stopped.value.problems.kind.tolist() == ["name-not-utf8"]
    table, said = read(tmp_path, on_problem="skip")
    assert len(table) == 5 and said == ["name-not-utf8"]
    saw(stopped.value)


@pytest.mark.fault("control characters in a file name", entrance="audit")
def test_control_characters(tmp_path, saw):
    cohort(tmp_path)
    name = "IM-0004-0001\x1b[2J\n.png"
    (tmp_path / "NORMAL" / name).write_bytes(b"")
    with pytest.raises(CohortError) as stopped:
        read_folder(tmp_path)
    assert "\x1b" not in str(stopped.value) and "IM-0004-0001\\x1b[2J\\n.png" in str(stopped.value)
    text = describe_audit(audit(tmp_path))
    assert "\x1b" not in text
    saw("reported; the name in escapes", str(stopped.value))


@pytest.mark.fault("names that differ by capital letters only", entrance="read_folder")
def test_twins_by_case(tmp_path, saw):
    cohort(tmp_path)
    image(tmp_path / "PNEUMONIA" / "PERSON1_virus_1.png", 99)
    if len(list((tmp_path / "PNEUMONIA").iterdir())) < 4:
        pytest.skip("this file system does not tell capital letters")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        table = read_folder(tmp_path)
    kinds = [kind for w in caught for kind in w.message.problems.kind]
    assert len(table) == 7 and "twins-by-case" in kinds
    saw("read, with a warning", str(caught[kinds.index("twins-by-case")].message))


@pytest.mark.fault(
    "a file that vanishes while the folder is read", entrance="read_folder --skip-bad"
)
def test_vanished_file(tmp_path, saw, monkeypatch):
    cohort(tmp_path)
    gone = tmp_path / "NORMAL" / "IM-0001-0001.png"
    from cxr_tutorial import datasets

    def list_then_lose(*arguments):
        found = listed(*arguments)
        gone.unlink(missing_ok=True)
        return found

    listed = datasets.list_files
    monkeypatch.setattr(datasets, "list_files", list_then_lose)
    table, said = read(tmp_path, on_problem="skip")
    assert len(table) == 5 and said == ["vanished-file"]
    saw("left out, with a warning", about(table)["problems"][0]["problem"])


NOBODY = """
import os, sys, warnings
from PIL import Image
from cxr_tutorial.datasets import read_folder
from cxr_tutorial.files.folders import about
Image.init()  # what is imported late might lie where nobody may look
warnings.simplefilter("ignore")
os.setgid(65534), os.setuid(65534)
try:
    table = read_folder(sys.argv[1], workers=1)
    print(len(table), [row["kind"] for row in about(table)["notices"]])
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.fixture
def open_folder():
    "A folder that every user may enter; pytest closes its own."
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield cohort(Path(folder))


def as_nobody(folder: Path) -> str:
    "What reading a folder says to a user who may not do everything."
    command = [sys.executable, "-c", NOBODY, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout, done.stderr
    return done.stdout.strip().replace(f"{folder}/", "")


@pytest.mark.skipif(
    not hasattr(os, "getuid") or os.getuid() != 0, reason="needs to change the user"
)
@pytest.mark.fault("lost+found, which only root may open", entrance="read_folder")
def test_folder_that_cannot_be_opened(open_folder, saw):
    (open_folder / "lost+found").mkdir(mode=0o700)
    said = as_nobody(open_folder)
    assert said == "6 ['folder-not-opened']"
    saw("read, with a warning", "folder could not be opened (Permission denied)")


@pytest.mark.skipif(
    not hasattr(os, "getuid") or os.getuid() != 0, reason="needs to change the user"
)
@pytest.mark.fault("a class folder without permission", entrance="read_folder")
def test_class_folder_that_cannot_be_opened(open_folder, saw):
    (open_folder / "NORMAL").chmod(0o700)
    said = as_nobody(open_folder)
    assert said.startswith("CohortError 1 problem") and "could not be opened (Perm" in said
    saw("refused (CohortError)", said.split(" ", 1)[1])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_no_image(tmp_path):
    cohort(tmp_path)
    os.mkfifo(tmp_path / "NORMAL" / "IM-0004-0001.png")
    with pytest.raises(CohortError) as stopped:  # and does not wait for somebody to write
        read_folder(tmp_path)
    assert stopped.value.problems.kind.tolist() == ["no-file"]


PATTERNS = {
    r"(\d+": "no regular expression",
    "": "is empty",
    r"IM-\d+": "has no group",
    r"(patient\d+)?": "finds a patient in none of 6 file name",
    r"nothing(.)": "finds a patient in none of 6 file name",
}


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.fault("patient_pattern {pattern}", entrance="read_folder")
def test_pattern_that_cannot_serve(tmp_path, pattern, saw):
    with pytest.raises(ValueError, match=re.escape(PATTERNS[pattern])) as stopped:
        read_folder(cohort(tmp_path), pattern)
    assert "\n" not in str(stopped.value)
    saw(stopped.value)


def test_pattern_that_matches_some_names(tmp_path):
    with pytest.raises(CohortError) as stopped:
        read_folder(cohort(tmp_path), r"(IM-\d+)?")
    assert stopped.value.problems.kind.tolist() == ["unmatched-name"] * 3


@pytest.mark.fault("patient_pattern that would take for ever", entrance="read_folder")
def test_pattern_that_hangs(tmp_path, saw, monkeypatch):
    from cxr_tutorial.files import folders

    make(tmp_path, "NORMAL/" + "a" * 40 + "!{2}.png", "PNEUMONIA/b{2}.png")
    monkeypatch.setattr(folders.match_names, "__defaults__", (0.5,))
    with pytest.raises(ValueError, match="takes longer than") as stopped:
        read_folder(tmp_path, r"(a+)+$")
    saw(stopped.value)


@pytest.mark.parametrize("pattern", [None, r"^([A-Za-z]+-?\d+)"])
def test_misfiled_names_are_seen_both_ways(tmp_path, pattern):
    cohort(tmp_path)
    image(tmp_path / "NORMAL" / "person8_bacteria_1.png", 98)
    image(tmp_path / "PNEUMONIA" / "IM-0099-0001.png", 99)
    with pytest.raises(CohortError) as stopped:
        read_folder(tmp_path, pattern)
    wrong = stopped.value.problems
    assert wrong.kind.tolist() == ["misfiled"] * 2
    assert [Path(path).name for path in wrong.path] == [
        "person8_bacteria_1.png",
        "IM-0099-0001.png",
    ]


METADATA = {  # what metadata.csv holds: images whose view is known, what is said, first patient
    "path,view\nNORMAL/IM-0001-0001.png,AP\n": (1, ["images-without-row"], "IM-0001"),
    "path;view\nNORMAL/IM-0001-0001.png;AP\n": (1, ["images-without-row"], "IM-0001"),
    "path\tview\r\nNORMAL/IM-0001-0001.png\tAP\r\n": (1, ["images-without-row"], "IM-0001"),
    "\ufeffpath,view\nNORMAL\\IM-0001-0001.png,AP\n": (1, ["images-without-row"], "IM-0001"),
    "path, view\n./NORMAL/IM-0001-0001.png, AP\n": (1, ["images-without-row"], "IM-0001"),
    "path,view\nIM-0001-0001.png,AP\n": (1, ["images-without-row"], "IM-0001"),
    "path,view\nNORMAL/IM-0001-0001.png,AP,\n": (1, ["images-without-row"], "IM-0001"),
    "path,view\n,AP\n": (0, ["rows-without-image", "images-without-row"], "IM-0001"),
    "path,view\ngone.png,AP\n": (0, ["rows-without-image", "images-without-row"], "IM-0001"),
    "path,patient_id,view\nNORMAL/IM-0001-0001.png,007,AP\n": (1, ["images-without-row"], "007"),
    "path,patient_id,view\nNORMAL/IM-0001-0001.png,,AP\n": (1, ["images-without-row"], "IM-0001"),
}


@pytest.mark.parametrize("text", METADATA)
def test_metadata(tmp_path, text):
    (cohort(tmp_path) / "metadata.csv").write_text(text, encoding="utf-8")
    known, kinds, patient = METADATA[text]
    table, said = read(tmp_path)
    assert table.view.notna().sum() == known and said == kinds
    assert table.patient_id[0] == patient


def test_metadata_in_latin_1(tmp_path):
    cohort(tmp_path)
    (tmp_path / "NORMAL" / "IM-0001-0001.png").rename(tmp_path / "NORMAL" / "Müller.png")
    text = "path;patient_id;view\nNORMAL/Müller.png;é7;AP\n"
    (tmp_path / "metadata.csv").write_bytes(text.encode("latin-1"))
    table, _ = read(tmp_path)
    assert table.patient_id[table.view == "AP"].tolist() == ["é7"]


@pytest.mark.fault("metadata.csv without a column path", entrance="read_folder")
def test_metadata_without_path(tmp_path, saw):
    (cohort(tmp_path) / "metadata.csv").write_text("patientid,sex,filename\n2,M,IM-0001-0001.png\n")
    with pytest.raises(ValueError, match="has no column path; it has patientid, sex") as stopped:
        read_folder(tmp_path)
    saw(stopped.value)


@pytest.mark.parametrize("text", ["", "\n", 'path,view\n"NORMAL/IM-0001-0001.png,AP\n'])
def test_metadata_that_is_no_table(tmp_path, text):
    (cohort(tmp_path) / "metadata.csv").write_text(text)
    with pytest.raises(ValueError, match=r"metadata\.csv is (empty|no table)") as stopped:
        read_folder(tmp_path)
    assert "\n" not in str(stopped.value)


@pytest.mark.fault("metadata.csv with two answers for one image", entrance="read_folder")
def test_metadata_that_contradicts_itself(tmp_path, saw):
    rows = "path,age\nNORMAL/IM-0001-0001.png,4\nNORMAL/IM-0001-0001.png,5\n"
    (cohort(tmp_path) / "metadata.csv").write_text(rows)
    with pytest.raises(CohortError) as stopped:
        read_folder(tmp_path)
    assert stopped.value.problems.kind.tolist() == ["repeated-path"]
    saw(stopped.value)


@pytest.mark.fault("a third class beside the two", entrance="audit")
def test_the_audit_says_what_was_not_read(tmp_path, saw):
    make(cohort(tmp_path), "COVID19/c{2}.png")
    findings = audit(tmp_path)
    row = findings[findings.kind == "not-in-table"].iloc[0]
    assert row.level == "look" and "COVID19" in row.evidence
    saw("a finding of the level look", row.evidence)


PARTS = [("train", "valid"), ("Train", "Test"), ("training", "testing"), ("train", "dev")]


@pytest.mark.parametrize("parts", PARTS)
def test_parts_of_usual_names_are_compared(parts):
    with pytest.raises(LeakageError):
        assert_no_leakage(pd.DataFrame({"patient_id": ["p1", "p1"], "split": parts}))


@pytest.mark.fault("a split with a part of an unknown name", entrance="assert_no_leakage")
def test_unknown_part_is_an_error(saw):
    table = pd.DataFrame({"patient_id": ["p1", "p1"], "split": ["train", "hospital B"]})
    with pytest.raises(ValueError, match="Rename it to train, val or test") as stopped:
        assert_no_leakage(table)
    assert not isinstance(stopped.value, LeakageError)
    saw(stopped.value)


# --- Look only once -----------------------------------------------------------------------------


@pytest.fixture
def looks(tmp_path, monkeypatch):
    "A function: what is found in files, some seconds from now, and which ones were decoded."
    monkeypatch.setenv("CXR_CACHE", str(tmp_path / "cache"))
    decode, decoded, now = folders.inspect_file, [], time.time_ns

    def counted(path):
        decoded.append(Path(path).name)
        return decode(path)

    monkeypatch.setattr(folders, "inspect_file", counted)

    def look(*files, seconds=5):
        decoded.clear()
        with monkeypatch.context() as later:
            later.setattr(time, "time_ns", lambda: now() + seconds * 1_000_000_000)
            rows = list(folders.inspect_files(map(str, files), workers=1))
        return rows, sorted(decoded)

    return look


def picture(file, seed=0):
    image = np.random.default_rng(seed).integers(0, 256, (40, 50)).astype(np.uint8)
    Image.fromarray(image).save(file, compress_level=0)  # any image of this size: as many bytes
    return file


def test_a_file_is_decoded_once(tmp_path, looks):
    files = [picture(tmp_path / f"{name}.png", seed) for seed, name in enumerate("abc")]
    first, decoded = looks(*files)
    assert decoded == ["a.png", "b.png", "c.png"]
    new = picture(tmp_path / "new.png", 9)
    again, decoded = looks(files[0], new, *files[1:])
    assert decoded == ["new.png"]
    assert [again[0], *again[2:]] == first and again[1]["path"] == str(new)
    moved, decoded = looks(files[1].rename(tmp_path / "moved.png"))
    assert decoded == ["moved.png"] and moved[0]["image_hash"] == first[1]["image_hash"]


@pytest.mark.parametrize("how", ["written over", "put in its place", "longer"])
def test_a_changed_file_is_decoded_again(tmp_path, looks, how):
    file = picture(tmp_path / "a.png")
    before, seen = looks(file)[0][0], file.stat()
    if how == "put in its place":
        picture(tmp_path / "other.png", 1).replace(file)
    else:
        picture(file, 1)
    if how == "longer":
        file.write_bytes(file.read_bytes() + b"\0")
    else:
        assert file.stat().st_size == seen.st_size
    os.utime(file, ns=(seen.st_atime_ns, seen.st_mtime_ns))  # as some copying programs do
    (after,), decoded = looks(file)
    assert decoded == ["a.png"] and after["image_hash"] != before["image_hash"]


def test_what_is_wrong_or_young_is_looked_at_each_time(tmp_path, looks):
    young, empty = picture(tmp_path / "young.png"), tmp_path / "empty.png"
    empty.write_bytes(b"")
    for seconds, expected in ((0, ["empty.png", "young.png"]), (5, ["empty.png", "young.png"])):
        rows, decoded = looks(young, empty, seconds=seconds)
        assert decoded == expected, f"{seconds} s later"
        assert [row.get("kind") for row in rows] == [None, "empty-file"]
    assert looks(young, empty)[1] == ["empty.png"]


def test_other_code_reads_anew(tmp_path, looks, monkeypatch):
    file = picture(tmp_path / "a.png")
    looks(file)
    monkeypatch.setattr(folders, "_READING", ("readers", "dicom"))
    assert looks(file)[1] == ["a.png"]


@pytest.mark.parametrize("broken", ["notes", "folder"])
def test_a_cache_that_cannot_be_used_stops_nothing(tmp_path, looks, broken):
    file = picture(tmp_path / "a.png")
    first, _ = looks(file)
    (notes,) = (tmp_path / "cache" / "inspected").glob("*.sqlite")
    if broken == "notes":
        notes.write_bytes(b"no database" * 100)
    else:
        notes.unlink()
        notes.parent.rmdir()
        notes.parent.write_text("a file where the folder should be")
    again, decoded = looks(file)
    assert decoded == ["a.png"] and again == first


def test_the_notes_hold_no_name_and_are_private(tmp_path, looks):
    file = picture(tmp_path / "SMITH_JOHN.png")
    looks(file)
    (notes,) = (tmp_path / "cache" / "inspected").glob("*.sqlite")
    assert b"SMITH" not in notes.read_bytes()
    assert notes.parent.stat().st_mode & 0o077 == 0
