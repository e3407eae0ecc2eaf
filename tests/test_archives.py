"""Public archives in their own layouts, and downloads from a server on this computer."""

import functools
import hashlib
import json
import os
import shutil
import socket
import sys
import threading
import types
import warnings
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from filelock import FileLock
from PIL import Image

from cxr_tutorial.audit.report import audit
from cxr_tutorial.datasets import read_folder
from cxr_tutorial.environment import cache_dir
from cxr_tutorial.files import download as downloads
from cxr_tutorial.files.archives import ARCHIVES, archive_table, read_archive
from cxr_tutorial.files.atomic import fingerprint
from cxr_tutorial.files.download import DownloadError, Remote, download, fetch, unpack
from cxr_tutorial.files.folders import about
from cxr_tutorial.files.problems import CohortError, CohortWarning
from cxr_tutorial.files.readers import load_image
from cxr_tutorial.phantom.cohort import default_cohort
from cxr_tutorial.phantom.writing import write_dicom
from cxr_tutorial.study.command import main
from cxr_tutorial.study.study import evaluate_model, run_study


def call(*arguments) -> tuple[int, str]:
    result = CliRunner().invoke(main, [str(one) for one in arguments], prog_name="cxr-tutorial")
    return result.exit_code, result.output


def noise(patients: int = 6, images: int = 2) -> list[dict]:
    "A few rows: every other patient is ill, and every image is another one."
    generator, rows = np.random.default_rng(0), []
    for patient in range(patients):
        for number in range(images):
            image = generator.integers(0, 255, (32, 40), dtype=np.uint8)
            row = {"image": image, "label": patient % 2, "patient": patient, "number": number}
            rows.append({**row, "age": 40 + patient, "sex": "FM"[patient % 2], "view": "PA"})
    return rows


def save(image: np.ndarray, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(file)


def write_lines(file: Path, *lines: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(lines) + "\n")


def write_kermany(folder: Path, rows: list[dict]) -> None:
    for count, row in enumerate(rows):
        name = f"IM-{row['patient']:04d}-{row['number']:04d}.png"
        if row["label"]:
            name = f"person{row['patient'] + 1}_virus_{count}.png"
        save(
            row["image"],
            folder / "chest_xray" / "train" / ("NORMAL", "PNEUMONIA")[row["label"]] / name,
        )


NIH_HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)


def write_nih(folder: Path, rows: list[dict]) -> None:
    lines = [NIH_HEADER]
    for row in rows:
        file = f"{row['patient'] + 1:08d}_{row['number']:03d}.png"
        words = ("No Finding", "Effusion|Pneumonia")[row["label"]]
        person = f"{row['number']},{row['patient'] + 1},{row['age']},{row['sex']},{row['view']}"
        lines.append(f"{file},{words},{person},2500,2048,0.168,0.168")
        save(row["image"], folder / f"images_{row['patient'] % 3 + 1:03d}" / "images" / file)
    write_lines(folder / "Data_Entry_2017_v2020.csv", *lines)


CHEXPERT_HEADER = (
    "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Enlarged Cardiomediastinum,Cardiomegaly,"
    "Lung Opacity,Lung Lesion,Edema,Consolidation,Pneumonia,Atelectasis,Pneumothorax,"
    "Pleural Effusion,Pleural Other,Fracture,Support Devices"
)


def write_chexpert(folder: Path, rows: list[dict]) -> None:
    lines = [CHEXPERT_HEADER]
    for row in rows:
        inside = f"train/patient{row['patient'] + 1:05d}/study{row['number'] + 1}/view1_frontal.jpg"
        sex = {"F": "Female", "M": "Male"}[row["sex"]]
        values = ",,,,,,,1.0,,,-1.0,,,".split(",") if row["label"] else ["1.0", *[""] * 13]
        person = f"{sex},{row['age']},Frontal,{row['view']}"
        lines.append(f"CheXpert-v1.0-small/{inside},{person},{','.join(values)}")
        save(row["image"], folder / "CheXpert-v1.0-small" / inside)
    write_lines(folder / "CheXpert-v1.0-small" / "train.csv", *lines)


def write_rsna(folder: Path, rows: list[dict]) -> None:
    labels = ["patientId,x,y,width,height,Target"]
    classes, mapping = ["patientId,class"], []
    (folder / "stage_2_train_images").mkdir(parents=True, exist_ok=True)
    for count, row in enumerate(rows):
        name = f"{count:08x}-5ab0-4a0f-9e01-{count:012x}"
        boxes = ["264.0,152.0,213.0,379.0,1", "562.0,152.0,256.0,453.0,1"]
        lines = boxes if row["label"] else [",,,,0"]
        labels += [f"{name},{line}" for line in lines]
        classes += [f"{name},{('Normal', 'Lung Opacity')[row['label']]}"] * len(lines)
        mapping.append(
            {"subset_img_id": name, "img_id": f"{row['patient'] + 1:08d}_{row['number']:03d}.png"}
        )
        truth = {
            "sex": row["sex"],
            "age": row["age"],
            "view": row["view"],
            "kv": 110,
            "pixel": 0.14,
        }
        taken = types.SimpleNamespace(image=row["image"], truth=truth)
        write_dicom(taken, folder / "stage_2_train_images" / f"{name}.dcm", name, bits=8)
    write_lines(folder / "stage_2_train_labels.csv", *labels)
    write_lines(folder / "stage_2_detailed_class_info.csv", *classes)
    file = folder / "pneumonia-challenge-dataset-mappings_2018.json"
    file.write_text(json.dumps(mapping))


COVID_HEADER = (
    "patientid,offset,sex,age,finding,RT_PCR_positive,survival,view,modality,date,location,folder,"
    "filename,doi,url,license,clinical_notes,other_notes,"
)


def write_covid(folder: Path, rows: list[dict]) -> None:
    lines = [COVID_HEADER]
    for count, row in enumerate(rows):
        finding = ("No Finding", "Pneumonia/Viral/COVID-19")[row["label"]]
        file = f"nejm-{count:04d}.png"
        person = f"{row['patient']:03d},3,{row['sex']},{row['age']},{finding},Y,,{row['view']}"
        lines.append(f'{person},X-ray,2020,"Wuhan, China",images,{file},,,CC0,"some, notes",,')
        save(row["image"], folder / "images" / file)
    write_lines(folder / "metadata.csv", *lines)


def write_tuberculosis(folder: Path, rows: list[dict], prefix: str) -> None:
    for count, row in enumerate(rows):
        stem = f"{prefix}_{count + 1:04d}_{row['label']}"
        save(row["image"], folder / "CXR_png" / f"{stem}.png")
        save(row["image"], folder / "ManualMask" / "leftMask" / f"{stem}.png")
        said = ("normal", "bilateral PTB")[row["label"]]
        person = f"Patient's Sex: {row['sex']} \nPatient's Age: {row['age']:03d}Y"
        if prefix == "CHNCXR":
            person = f"{'female' if row['sex'] == 'F' else 'male'} {row['age']}yrs"
        write_lines(folder / "ClinicalReadings" / f"{stem}.txt", person, said)


def write_medmnist(folder: Path, rows: list[dict], name: str, column: int, width: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    third, arrays = len(rows) // 3, {}
    for number, part in enumerate(("train", "val", "test")):
        own = rows[number * third : (number + 1) * third if number < 2 else None]
        labels = np.zeros((len(own), width), np.uint8)
        labels[:, column] = [row["label"] for row in own]
        arrays[f"{part}_images"] = np.stack([row["image"] for row in own])
        arrays[f"{part}_labels"] = labels
    np.savez(folder / f"{name}.npz", **arrays)


LAYOUTS = {
    "kermany": write_kermany,
    "nih": write_nih,
    "chexpert": write_chexpert,
    "rsna": write_rsna,
    "covid": write_covid,
    "shenzhen": functools.partial(write_tuberculosis, prefix="CHNCXR"),
    "montgomery": functools.partial(write_tuberculosis, prefix="MCUCXR"),
    "pneumoniamnist": functools.partial(write_medmnist, name="pneumoniamnist", column=0, width=1),
    "chestmnist": functools.partial(write_medmnist, name="chestmnist", column=6, width=14),
}
OWN_PATIENT = ("shenzhen", "montgomery", "pneumoniamnist", "chestmnist")  # one per image


def read_quietly(name: str, folder: Path, **options) -> pd.DataFrame:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CohortWarning)
        return read_archive(name, folder, **options)


def test_every_archive_has_a_layout_here():
    assert set(LAYOUTS) == set(ARCHIVES)


@pytest.mark.parametrize("name", LAYOUTS)
def test_an_archive_in_its_own_layout(name, tmp_path):
    rows = noise()
    LAYOUTS[name](tmp_path / name, rows)
    cohort = read_quietly(name, tmp_path / name)
    assert len(cohort) == 12 and cohort.label.sum() == 6 and not about(cohort)["problems"]
    assert cohort.patient_id.nunique() == (12 if name in OWN_PATIENT else 6)
    assert all(isinstance(patient, str) for patient in cohort.patient_id)
    held = {image.tobytes(): row["label"] for row in rows for image in [row["image"]]}
    if name != "chexpert":  # JPEG changes the pixels
        found = [held[load_image(path).tobytes()] for path in cohort.path]
        assert found == cohort.label.tolist()
    if name != "kermany":
        assert (cohort[ARCHIVES[name].finding] == cohort.label).all()
    kinds = {notice["kind"] for notice in about(cohort)["notices"]}
    assert ("unknown-patients" in kinds) == name.endswith("mnist")
    if name in ("nih", "chexpert", "rsna", "covid", "shenzhen", "montgomery"):
        assert sorted(cohort.age.unique()) == [40, 41, 42, 43, 44, 45]
        assert set(cohort.sex) == {"F", "M"} and set(cohort.view) == {"PA"}
    table = archive_table(name, tmp_path / name)
    assert len(table) == 12 and table.label.sum() == 6
    code, text = call("audit", tmp_path / name, "--archive", name)
    assert code == 0 and "12 images of" in text, text


def test_several_findings_and_another_label(tmp_path):
    write_nih(tmp_path, noise())
    table = archive_table("nih", tmp_path, finding="Effusion")
    assert table.label.sum() == 6 and table.pneumonia.sum() == 6 and table.hernia.sum() == 0
    with pytest.raises(ValueError, match=r"has no finding 'measles'.* It has: atelectasis"):
        archive_table("nih", tmp_path, finding="measles")
    with pytest.raises(ValueError, match="uncertain must be one of ignore"):
        archive_table("nih", tmp_path, uncertain="maybe")
    with pytest.raises(ValueError, match="views must be"):
        archive_table("nih", tmp_path, views="lateral")
    with pytest.raises(ValueError, match="on_problem"):
        read_archive("nih", tmp_path, on_problem="ask")


def nih_table(folder: Path, *rows: str) -> None:
    save(np.zeros((8, 8), np.uint8), folder / "images" / "other.png")
    tail = ",2500,2048,0.168,0.168"
    write_lines(folder / "Data_Entry_2017.csv", NIH_HEADER, *[row + tail for row in rows])


def test_ids_stay_text_and_older_ages_are_read(tmp_path):
    nih_table(tmp_path, "a.png,Pneumonia,0,007,058Y,M,PA", "b.png,No Finding,0,NA,006M,F,AP")
    for file in ("a.png", "b.png"):
        save(np.zeros((8, 8), np.uint8), tmp_path / "images" / file)
    table = archive_table("nih", tmp_path)
    assert table.patient_id.tolist() == ["nih-007", "nih-NA"] and table.age.tolist() == [58, 0.5]


@pytest.mark.fault("NIH ChestX-ray14 with ages such as 411", entrance="read_archive")
def test_impossible_ages(tmp_path, saw):
    rows = noise()
    rows[0]["age"] = 411
    write_nih(tmp_path, rows)
    with pytest.warns(CohortWarning, match="411") as caught:
        cohort = read_archive("nih", tmp_path)
    assert cohort.age.isna().sum() == 1 and len(cohort) == 12
    saw("read, with a warning", str(caught[0].message))


@pytest.mark.fault("an archive of which a part was downloaded", entrance="read_archive")
def test_missing_files_are_one_problem(tmp_path, saw):
    place = tmp_path / "nih"
    write_nih(place, noise())
    shutil.rmtree(place / "images_002")
    with pytest.raises(CohortError) as stopped:
        read_archive("nih", place)
    assert stopped.value.problems.kind.tolist() == ["not-in-folder"]
    assert "4 of 12 images" in str(stopped.value) and "00000002_000.png" in str(stopped.value)
    cohort = read_quietly("nih", place, on_problem="skip")
    assert len(cohort) == 8 and about(cohort)["problems"][0]["kind"] == "not-in-folder"
    code, text = call("audit", place, "--archive", "nih")
    assert code == 0 and "4 of 12 images that the archive's table names" in " ".join(text.split())
    saw(stopped.value)


@pytest.mark.fault("an archive with images that its table does not name", entrance="read_archive")
def test_unlisted_files_are_said(tmp_path, saw):
    place = tmp_path / "nih"
    write_nih(place, noise())
    save(np.zeros((8, 8), np.uint8), place / "images_001" / "images" / "mine.png")
    save(np.zeros((8, 8), np.uint8), place / "masks" / "mine.png")  # a mask is no X-ray
    with pytest.warns(CohortWarning, match="mine.png") as caught:
        cohort = read_archive("nih", place)
    assert len(cohort) == 12 and "1 image(s)" in str(caught[0].message)
    saw("read, with a warning", str(caught[0].message))


@pytest.mark.fault("an archive that holds an image twice", entrance="read_archive")
def test_copies_are_not_chosen_from(tmp_path, saw):
    place = tmp_path / "nih"
    write_nih(place, noise())
    shutil.copytree(place / "images_001", place / "small" / "images_001")
    with pytest.raises(CohortError) as stopped:
        read_archive("nih", place)
    assert stopped.value.problems.kind.tolist() == ["twice-in-folder"]
    assert len(read_quietly("nih", place, on_problem="skip")) == 8
    saw(stopped.value)


def test_official_parts(tmp_path):
    write_nih(tmp_path, noise())
    names = [f"{patient + 1:08d}_{number:03d}.png" for patient in range(6) for number in range(2)]
    write_lines(tmp_path / "train_val_list.txt", *names[:8])
    write_lines(tmp_path / "test_list.txt", *names[8:])
    assert archive_table("nih", tmp_path).split.tolist() == ["train"] * 8 + ["test"] * 4
    (tmp_path / "test_list.txt").unlink()
    assert archive_table("nih", tmp_path).split.isna().sum() == 4


@pytest.mark.fault("official lists that share an image", entrance="read_archive")
def test_official_parts_that_overlap(tmp_path, saw):
    place = tmp_path / "nih"
    write_nih(place, noise())
    write_lines(place / "train_val_list.txt", "00000001_000.png", "00000001_001.png")
    write_lines(place / "test_list.txt", "00000001_001.png")
    with pytest.raises(CohortError) as stopped:
        read_archive("nih", place)
    assert stopped.value.problems.kind.tolist() == ["contradicting-rows"]
    saw(stopped.value)


@pytest.mark.fault("a table with a finding that the archive does not have", entrance="read_archive")
def test_unknown_findings(tmp_path, saw):
    nih_table(tmp_path, "a.png,Pneumonai,0,1,58,M,PA", "other.png,No Finding,0,2,30,F,AP")
    with pytest.raises(CohortError) as stopped:
        read_archive("nih", tmp_path)
    assert stopped.value.problems.kind.tolist() == ["unclear-rows"] and "a.png" in str(
        stopped.value
    )
    saw(stopped.value)


@pytest.mark.fault("a table with rows that contradict each other", entrance="read_archive")
def test_contradicting_rows(tmp_path, saw):
    place = tmp_path / "nih"
    nih_table(place, *[f"other.png,{word},0,1,58,M,PA" for word in ("Pneumonia", "Mass", "Mass")])
    with pytest.raises(CohortError) as stopped:
        read_archive("nih", place)
    assert stopped.value.problems.kind.tolist() == ["contradicting-rows"]
    saw(stopped.value)


@pytest.mark.fault("a table with a row without patient", entrance="read_archive")
def test_no_patient(tmp_path, saw):
    place = tmp_path / "nih"
    nih_table(place, "other.png,Pneumonia,0,,58,M,PA")
    with pytest.raises(CohortError) as stopped:
        read_archive("nih", place)
    assert "no patient" in str(stopped.value)
    saw(stopped.value)


@pytest.mark.fault("the folder of another archive", entrance="read_archive")
def test_another_archive(tmp_path, saw):
    write_nih(tmp_path / "nih", noise())
    for name in set(ARCHIVES) - {"nih"}:
        with pytest.raises(FileNotFoundError) as stopped:
            read_archive(name, tmp_path / "nih")
        assert "\n" not in str(stopped.value) and str(tmp_path / "nih") in str(stopped.value)
        with pytest.raises(FileNotFoundError, match="is not a folder"):
            read_archive(name, tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError) as stopped:
        read_archive("chexpert", tmp_path / "nih")
    saw(stopped.value)


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n\0\0", b"a,b\n1,2\n", b'"'])
@pytest.mark.parametrize(
    "name", ["nih", "chexpert", "rsna", "covid", "pneumoniamnist", "chestmnist"]
)
def test_a_file_that_is_something_else(name, content, tmp_path):
    files = {"nih": "Data_Entry_2017.csv", "chexpert": "train.csv", "covid": "metadata.csv"}
    file = files.get(name, f"{name}.npz" if "mnist" in name else "stage_2_train_labels.csv")
    (tmp_path / file).write_bytes(content)
    with pytest.raises(CohortError) as stopped:
        read_archive(name, tmp_path)
    assert stopped.value.problems.kind.tolist() == ["unclear-file"] and file in str(stopped.value)


@pytest.mark.fault(
    "a table of an archive that was cut off in the download", entrance="read_archive"
)
def test_a_cut_table(tmp_path, saw):
    write_nih(tmp_path, noise())
    whole = tmp_path / "Data_Entry_2017_v2020.csv"
    pd.read_csv(whole).to_csv(tmp_path / "Data_Entry_2017.csv.gz", index=False)
    whole.unlink()
    assert len(archive_table("nih", tmp_path)) == 12
    packed = (tmp_path / "Data_Entry_2017.csv.gz").read_bytes()
    (tmp_path / "Data_Entry_2017.csv.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(CohortError) as stopped:
        read_archive("nih", tmp_path)
    assert stopped.value.problems.kind.tolist() == ["unclear-file"]
    saw(stopped.value)


@pytest.mark.fault("two versions of an archive's table in one folder", entrance="read_archive")
def test_two_tables(tmp_path, saw):
    place = tmp_path / "nih"
    write_nih(place, noise())
    shutil.copy(place / "Data_Entry_2017_v2020.csv", place / "Data_Entry_2017.csv")
    with pytest.raises(CohortError) as stopped:
        read_archive("nih", place)
    assert stopped.value.problems.kind.tolist() == ["several-tables"]
    saw(stopped.value)


@pytest.mark.fault("a table with a row that has too many fields", entrance="read_archive")
def test_too_many_fields(tmp_path, saw):
    nih_table(tmp_path, "other.png,Pneumonia,0,1,58,M,PA", "other.png,Mass,0,1,5,8,M,PA")
    with pytest.raises(CohortError) as stopped:
        read_archive("nih", tmp_path)
    assert stopped.value.problems.kind.tolist() == ["unclear-file"]
    saw(stopped.value)


def test_one_class_is_no_cohort(tmp_path):
    write_nih(tmp_path, [row for row in noise() if row["label"] == 0])
    with pytest.raises(CohortError) as stopped:
        read_archive("nih", tmp_path)
    assert "no-image-left" in set(stopped.value.problems.kind)
    for folder in tmp_path.glob("images*"):
        shutil.rmtree(folder)
    with pytest.raises(CohortError) as stopped:  # and none at all is none
        read_archive("nih", tmp_path, on_problem="skip")
    assert "no-image-left" in set(stopped.value.problems.kind)


def chexpert_with_doubts(folder: Path) -> None:
    rows = noise()
    write_chexpert(folder, rows)
    place, table = folder / "CheXpert-v1.0-small", folder / "CheXpert-v1.0-small" / "train.csv"
    lines = table.read_text().splitlines()
    lines[1] = lines[1].replace(",1.0" + "," * 13, ",,,,,,,,-1.0,,,,,,", 1)
    lateral = "train/patient00001/study1/view2_lateral.jpg"
    empty = "," * 14
    lines.append(f"CheXpert-v1.0-small/{lateral},Unknown,0,Lateral,{empty}")
    save(rows[0]["image"], place / lateral)
    write_lines(table, *lines)


@pytest.mark.fault("CheXpert labels that are uncertain (-1)", entrance="read_archive")
def test_uncertain_labels(tmp_path, saw):
    place = tmp_path / "chexpert"
    chexpert_with_doubts(place)
    with pytest.warns(CohortWarning, match="uncertain for 1 of 12") as caught:
        cohort = read_archive("chexpert", place)
    assert len(cohort) == 11 and cohort.label.sum() == 6
    assert cohort.effusion.isna().sum() == 6 and set(cohort.effusion.dropna()) == {0}
    told = [str(one.message) for one in caught if "label pneumonia" in str(one.message)]
    counts = {}
    for policy in ("zeros", "ones", "own"):
        table = archive_table("chexpert", place, uncertain=policy)
        counts[policy] = (
            len(table),
            int(table.label.sum()),
            int((table.subtype == "uncertain").sum()),
        )
    assert counts == {"zeros": (12, 6, 0), "ones": (12, 7, 0), "own": (12, 6, 1)}
    saw("read without them, with a warning", told[0])


def test_lateral_views_are_left_out_unless_asked_for(tmp_path):
    chexpert_with_doubts(tmp_path)
    table = archive_table("chexpert", tmp_path, uncertain="zeros")
    said = {notice["kind"]: notice["problem"] for notice in about(table)["notices"]}
    assert "1 of 13 images were left out: not frontal" in said["left-out-rows"]
    assert "not-in-table" not in said and set(table.view) == {"PA"}
    every = archive_table("chexpert", tmp_path, uncertain="zeros", views="all")
    assert len(every) == 13 and every.view.tolist()[-1] == "lateral" and every.sex.isna().sum() == 1


def test_chexpert_parts_come_from_the_path(tmp_path):
    write_chexpert(tmp_path, noise())
    place = tmp_path / "CheXpert-v1.0-small"
    lines = (place / "train.csv").read_text().replace("/train/", "/valid/").splitlines()
    write_lines(
        place / "valid.csv", lines[0], *[x.replace("patient0000", "patient9000") for x in lines[1:]]
    )
    for folder in sorted((place / "train").iterdir()):
        copy = folder.name.replace("patient0000", "patient9000")
        shutil.copytree(folder, place / "valid" / copy)
    table = archive_table("chexpert", tmp_path)
    assert table.split.value_counts().to_dict() == {"train": 12, "val": 12}
    assert table.patient_id.nunique() == 12 and len(archive_table("chexpert", place)) == 24


@pytest.mark.fault("RSNA pneumonia without the mapping to patients", entrance="read_archive")
def test_rsna_ids_are_images(tmp_path, saw):
    place = tmp_path / "rsna"
    write_rsna(place, noise())
    known = read_quietly("rsna", place)
    assert set(known.patient_id) == {f"nih-{number}" for number in range(1, 7)}
    assert set(known.boxes) == {0, 2}
    assert known.subtype.value_counts().to_dict() == {"Normal": 6, "Lung Opacity": 6}
    next(place.glob("*.json")).unlink()
    with pytest.warns(CohortWarning, match="not the patient's") as caught:
        cohort = read_archive("rsna", place)
    assert cohort.patient_id.nunique() == 12
    saw("read, with a warning", str(caught[0].message))


@pytest.mark.fault("RSNA boxes that contradict each other", entrance="read_archive")
def test_rsna_contradictions(tmp_path, saw):
    write_rsna(tmp_path, noise())
    file = tmp_path / "stage_2_train_labels.csv"
    lines = file.read_text().splitlines()
    name = lines[1].split(",")[0]
    write_lines(file, *lines, f"{name},1.0,1.0,5.0,5.0,1")
    with pytest.raises(CohortError) as stopped:
        read_archive("rsna", tmp_path)
    assert stopped.value.problems.kind.tolist() == ["contradicting-rows"]
    saw(stopped.value)


def test_covid_leaves_out_what_is_no_x_ray(tmp_path):
    write_covid(tmp_path, noise())
    lines = (tmp_path / "metadata.csv").read_text().splitlines()
    tail = "2020,,volumes,{},,,CC0,,,"
    lines.append("900,1,M,50,Pneumonia/Viral/COVID-19,Y,,Axial,CT," + tail.format("ct.nii.gz"))
    lines.append("901,1,M,50,todo,Y,,PA,X-ray," + tail.format("later.png"))
    lines.append("902,1,M,50,Pneumonia,Y,,L,X-ray," + tail.format("side.png"))
    write_lines(tmp_path / "metadata.csv", *lines)
    table = archive_table("covid", tmp_path)
    said = [notice["problem"] for notice in about(table)["notices"]]
    assert [text.split(": ")[1] for text in said] == [
        "CT, not X-rays",
        "no finding stated",
        "not frontal",
    ]
    assert len(table) == 12 and table.covid_19.sum() == 6 and table.no_finding.sum() == 6
    assert table.patient_id[0] == "covid-000" and set(table.site) == {"Wuhan, China"}
    assert archive_table("covid", tmp_path, finding="COVID-19").label.sum() == 6


def test_covid_table_of_the_first_version(tmp_path):
    write_lines(
        tmp_path / "metadata.csv",
        "Patientid,offset,sex,age,finding,survival,view,date,location,filename,doi, url,"
        "license,notes",
        "1, ,,,COVID-19,,PA,2019,,a.png,,https://radiopaedia.org,,",
        "5,,,,ARDS,,PA,2017,,b.png,,https://en.wikipedia.org,,Severe ARDS. Person is intubated.",
        "17,9,M,54,COVID-19,Y,CT,2020,Korea,c.png,,,,",
    )
    for file in "abc":
        save(np.zeros((8, 8), np.uint8), tmp_path / "images" / f"{file}.png")
    table = archive_table("covid", tmp_path, finding="COVID-19")
    assert table.label.tolist() == [1, 0] and table.patient_id.tolist() == ["covid-1", "covid-5"]
    with pytest.raises(ValueError, match="It has: ards, covid_19"):
        archive_table("covid", tmp_path)


def test_tuberculosis_readings_that_say_otherwise(tmp_path):
    LAYOUTS["shenzhen"](tmp_path, noise())
    reading = tmp_path / "ClinicalReadings" / "CHNCXR_0001_0.txt"
    reading.write_text("femal, 16month\nPTB in the left lower field\n")
    (tmp_path / "ClinicalReadings" / "CHNCXR_0002_0.txt").unlink()
    table = archive_table("shenzhen", tmp_path)
    assert [notice["kind"] for notice in about(table)["notices"]] == ["reading-differs"]
    assert table.label.tolist()[:2] == [0, 0] and table.age[0] == 1.333 and table.sex[0] == "F"
    assert table.age.isna().sum() == 1
    (tmp_path / "CXR_png" / "CHNCXR_0003_1.png").unlink()  # its reading is still there
    with pytest.raises(CohortError, match=r"1 of 12 images.*CHNCXR_0003_1"):
        read_archive("shenzhen", tmp_path)


@pytest.mark.fault("MedMNIST, which has no patient ids", entrance="read_archive")
def test_medmnist_says_that_patients_are_unknown(tmp_path, saw):
    LAYOUTS["pneumoniamnist"](tmp_path, noise())
    with pytest.warns(CohortWarning, match="no patient ids") as caught:
        cohort = read_archive("pneumoniamnist", tmp_path)
    assert cohort.split.value_counts().to_dict() == {"train": 4, "val": 4, "test": 4}
    times = [os.stat(path).st_mtime_ns for path in cohort.path]
    again = read_quietly("pneumoniamnist", tmp_path / "pneumoniamnist.npz")  # the file itself
    assert [os.stat(path).st_mtime_ns for path in again.path] == times
    code, text = call("audit", tmp_path, "--archive", "pneumoniamnist")
    assert code == 0 and "[stop] Patients unknown" in text
    saw("read, with a warning", str(caught[0].message))


@pytest.mark.fault("a MedMNIST file that holds Python objects", entrance="read_archive")
def test_an_npz_that_would_unpickle(tmp_path, saw):
    labels = np.array([[0], [1]], dtype=object)
    names = [f"{part}_{what}" for part in ("train", "val", "test") for what in ("images", "labels")]
    np.savez(tmp_path / "pneumoniamnist.npz", **dict.fromkeys(names, labels))
    with pytest.raises(CohortError) as stopped:
        read_archive("pneumoniamnist", tmp_path)
    assert "allow_pickle=False" in str(stopped.value)
    saw(stopped.value)


@pytest.mark.parametrize("wrong", ["colour", "labels", "fewer"])
def test_an_npz_of_another_shape(wrong, tmp_path):
    LAYOUTS["pneumoniamnist"](tmp_path, noise())
    with np.load(tmp_path / "pneumoniamnist.npz") as data:
        arrays = dict(data)
    if wrong == "colour":
        arrays["val_images"] = np.stack([arrays["val_images"]] * 3, axis=-1)
    elif wrong == "labels":
        arrays["val_labels"] = arrays["val_labels"] + 1
    else:
        arrays["val_images"] = arrays["val_images"][:2]
    np.savez(tmp_path / "pneumoniamnist.npz", **arrays)
    before = set(cache_dir().iterdir())
    with pytest.raises(CohortError) as stopped:
        read_archive("pneumoniamnist", tmp_path)
    assert stopped.value.problems.kind.tolist() == ["unclear-file"]
    assert not [one for one in set(cache_dir().iterdir()) - before if one.is_dir()]


def mutated(content: bytes, random: np.random.Generator) -> bytes:
    "Bytes changed, cut off, left out, repeated, or lines in another order."
    at, kind = int(random.integers(len(content))), random.integers(5)
    if kind == 0:
        return content[:at]
    if kind == 1:
        return content[:at] + content[at + int(random.integers(1, 50)) :]
    if kind == 2:
        return content[:at] + content[at : at + 200] + content[at:]
    if kind == 3:
        return b"\n".join(random.permutation(content.split(b"\n")).tolist())
    changed = np.frombuffer(content, np.uint8).copy()
    changed[random.integers(len(content), size=10)] = random.integers(0, 256, 10)
    return changed.tobytes()


@pytest.mark.fault("tables of every archive with changed bytes", entrance="read_archive")
def test_mutated_tables(tmp_path, saw):
    "Read or refused with the reason, never another error."
    random, outcomes = np.random.default_rng(0), {"read": 0, "refused": 0}
    for name, write in LAYOUTS.items():
        write(tmp_path / name, noise())
        kinds = (".csv", ".txt", ".json", ".npz")
        files = [file for file in sorted((tmp_path / name).rglob("*")) if file.suffix in kinds]
        for _ in range(12 if files else 0):
            file = files[random.integers(len(files))]
            whole = file.read_bytes()
            file.write_bytes(mutated(whole, random))
            try:
                archive_table(name, tmp_path / name)
                outcomes["read"] += 1
            except (CohortError, FileNotFoundError, ValueError) as error:
                foreseen = isinstance(error, (CohortError, FileNotFoundError))
                assert foreseen or "has no finding" in str(error)
                outcomes["refused"] += 1
            file.write_bytes(whole)
    assert min(outcomes.values()) > 10
    saw("read, or refused with the reason", "")


PUBLISHED = {  # images, patients, with pneumonia: as published
    "nih": ("Data_Entry_2017_v2020.csv.gz", "Data_Entry_2017_v2020.csv.gz", 112120, 30805, 1431),
    "chexpert": ("chexpert_train.csv.gz", "train.csv.gz", 223414, 64540, 6039),
    "rsna": (
        "kaggle_stage_2_train_labels.csv.zip",
        "stage_2_train_labels.csv.zip",
        26684,
        26684,
        6012,
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_real_tables_at_their_real_size(name, tmp_path):
    source = Path(pytest.importorskip("torchxrayvision").__file__).parent / "data"
    theirs, ours, images, patients, ill = PUBLISHED[name]
    shutil.copy(source / theirs, tmp_path / ours)
    listing = ARCHIVES[name].read(tmp_path)
    assert not listing.problems and len(listing.table) == images
    assert listing.table.patient_id.nunique() == patients
    assert (listing.table.pneumonia == 1).sum() == ill
    if name == "chexpert":
        assert (listing.table.pneumonia == -1).sum() == 18770


@pytest.mark.fault("an archive of 112,120 images of which none is there", entrance="read_archive")
def test_a_table_without_images(tmp_path, saw):
    source = Path(pytest.importorskip("torchxrayvision").__file__).parent / "data"
    (tmp_path / "nih").mkdir()
    shutil.copy(source / "Data_Entry_2017_v2020.csv.gz", tmp_path / "nih")
    with pytest.raises(CohortError) as stopped:
        read_archive("nih", tmp_path / "nih")
    assert len(str(stopped.value)) < 600 and "112120 of 112120" in str(stopped.value)
    saw(stopped.value)


@pytest.mark.fault("--finding without --archive", entrance="cxr-tutorial audit")
def test_options_of_archives_go_with_an_archive(tmp_path, saw):
    code, text = call("audit", tmp_path, "--finding", "mass")
    assert code == 2 and "--finding goes with --archive" in text
    assert call("audit", tmp_path, "--archive", "nih", "--patient-pattern", "(.)")[0] == 2
    saw("refused (usage, exit code 2)", text.splitlines()[-1])


@pytest.mark.fault("--archive with a name that is none", entrance="cxr-tutorial train")
def test_unknown_archive(tmp_path, saw):
    code, text = call("train", tmp_path, "--out", tmp_path / "out", "--archive", "mimic")
    assert code == 1 and "Known are: kermany, nih" in text and not (tmp_path / "out").exists()
    saw("refused (exit code 1)", text)


def class_folder_twin(cohort: pd.DataFrame, folder: Path) -> pd.DataFrame:
    "The same images and patients in class folders, read by `read_folder`, in the same order."
    patients = cohort.patient_id.str.replace("/", "-")
    for count, (row, patient) in enumerate(zip(cohort.itertuples(), patients, strict=True)):
        name = f"{patient}__{count:04d}.png"
        save(load_image(row.path), folder / ("NORMAL", "PNEUMONIA")[row.label] / name)
    twin = read_folder(folder, patient_pattern=r"^(.+)__\d+\.png$")
    twin = twin.iloc[twin.path.str[-8:-4].astype(int).argsort()].reset_index(drop=True)
    assert (twin.image_hash == cohort.image_hash).all() and (twin.label == cohort.label).all()
    names = dict(zip(patients, cohort.patient_id, strict=True))
    groups = dict(zip(patients, cohort.group_id, strict=True))
    return twin.assign(group_id=twin.patient_id.map(groups), patient_id=twin.patient_id.map(names))


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYOUTS)
def test_train_and_evaluate_as_the_class_folder_twin(name, tmp_path):
    "Each archive in its own layout gives the AUROC of its twin, through the commands."
    settings = {"patients": 70, "size": (64, 64), "seed": 8}
    phantom = read_folder(default_cohort(settings)).sort_values(["label", "path"])
    ids = {patient: number for number, patient in enumerate(phantom.patient_id.unique())}
    rows = []
    for row in phantom.itertuples():
        image = np.asarray(Image.fromarray(load_image(row.path)).resize((64, 64)))
        known = {
            "patient": ids[row.patient_id],
            "number": sum(r["patient"] == ids[row.patient_id] for r in rows),
        }
        rows.append(
            {"image": image, "label": row.label, **known, "age": 50, "sex": "F", "view": "PA"}
        )
    if name.endswith("mnist"):  # both classes in each part
        rows = rows[::3] + rows[1::3] + rows[2::3]
    LAYOUTS[name](tmp_path / name, rows)
    small = ("--size", 64, "--epochs", 3, "--draws", 100)
    code, text = call(
        "train", tmp_path / name, "--archive", name, "--out", tmp_path / "own", *small
    )
    assert code == 0, text
    own = json.loads((tmp_path / "own" / "metrics.json").read_text())
    twin = class_folder_twin(read_quietly(name, tmp_path / name), tmp_path / "twin")
    assert len(twin) == len(phantom)
    other = run_study(twin, tmp_path / "other", size=64, epochs=3, draws=100)
    assert abs(own["auroc"] - other["auroc"]) <= 0.005 and own["n_images"] == other["n_images"]
    file = tmp_path / "result.json"
    code, text = call(
        "evaluate",
        tmp_path / "own",
        tmp_path / name,
        "--archive",
        name,
        "--draws",
        100,
        "--json",
        file,
    )
    assert code == 0, text
    found = json.loads(file.read_text())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        same = evaluate_model(tmp_path / "own", twin, draws=100)
    assert abs(found["auroc"] - same["auroc"]) <= 0.005 and found["seen_in_training"] > 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive = audit(functools.partial(read_archive, name, tmp_path / name))
        more = {
            "metadata",
            "encoding",
            "unknown-patients",
            "near-identical-split",
            "altered-split",
        }  # it says more
        assert set(archive.kind) - more <= set(audit(twin).kind)


# ---- downloads


CONTENT = np.random.default_rng(1).integers(0, 256, 3_000_000, dtype=np.uint8).tobytes()
MD5 = hashlib.md5(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    "A server of one file that behaves as its `server.plan` says, request by request."

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        plan = self.server.plan
        how = plan.pop(0) if len(plan) > 1 else plan[0]
        self.server.asked.append((self.path, dict(self.headers)))
        if self.path == "/listing":
            self.send_response(200)
            self.send_header("Content-Length", str(len(self.server.listing)))
            self.end_headers()
            return self.wfile.write(self.server.listing)
        if how in (404, 503):
            return self.send_error(how)
        content, start = self.server.content, 0
        asks = self.headers.get("Range", "")
        fresh = self.headers.get("If-Range") == self.server.version
        if asks and fresh and how != "no ranges":
            start = int(asks.removeprefix("bytes=").removesuffix("-"))
        if start >= len(content):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("ETag", self.server.version)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        part = content[start:]
        if how == "cut":
            part = part[: len(part) // 2]
            self.close_connection = True
        self.wfile.write(part)


@pytest.fixture
def server():
    "One file on a free port of this computer."
    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.content, http.version, http.plan, http.asked = CONTENT, '"one"', ["whole"], []
    http.handle_error = lambda *_: None  # a client that left
    http.url = f"http://127.0.0.1:{http.server_port}/file.npz"
    thread = threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield http
    http.shutdown()
    http.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def left_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_complete_download(server, tmp_path, capfd):
    file = download(Remote(server.url, "file.npz", MD5), tmp_path / "new")
    assert file.read_bytes() == CONTENT and left_in(tmp_path) == ["new", "new/file.npz"]
    assert "file.npz" in capfd.readouterr().err  # a progress bar
    assert download(Remote(server.url, "file.npz", MD5), tmp_path / "new") == file
    assert len(server.asked) == 1  # it was there already


@pytest.mark.fault("a connection that is cut once", entrance="cxr-tutorial data")
def test_a_cut_goes_on_in_the_same_call(server, tmp_path, saw):
    server.plan = ["cut", "whole"]
    file = download(Remote(server.url, "file.npz", MD5), tmp_path)
    assert file.read_bytes() == CONTENT and left_in(tmp_path) == ["file.npz"]
    assert server.asked[1][1]["Range"] == f"bytes={len(CONTENT) // 2}-"
    saw("downloaded; the second connection went on", "", left="the complete file")


@pytest.mark.fault("a server that closes early every time", entrance="cxr-tutorial data")
def test_a_later_call_goes_on(server, tmp_path, saw):
    server.plan = ["cut"]
    remote = Remote(server.url, "file.npz", MD5)
    with pytest.raises(DownloadError) as stopped:
        download(remote, tmp_path, "https://example.org")
    assert "goes on from there" in str(stopped.value) and not (tmp_path / "file.npz").exists()
    kept = (tmp_path / "file.npz.partial").stat().st_size
    assert len(CONTENT) * 0.8 < kept < len(CONTENT)
    server.plan = ["whole"]
    assert download(remote, tmp_path).read_bytes() == CONTENT
    assert server.asked[-1][1]["Range"] == f"bytes={kept}-" and left_in(tmp_path) == ["file.npz"]
    saw(stopped.value, left="what came, in file.npz.partial")


@pytest.mark.parametrize("change", ["another file", "no ranges", "too much"])
def test_a_part_of_another_file_is_not_used(change, server, tmp_path):
    server.plan = ["cut"]
    remote = Remote(server.url, "file.npz")
    with pytest.raises(DownloadError):
        download(remote, tmp_path)
    server.plan = ["no ranges" if change == "no ranges" else "whole"]
    if change == "another file":
        server.content, server.version = CONTENT[::-1], '"two"'
    if change == "too much":
        (tmp_path / "file.npz.partial").write_bytes(CONTENT + b"more")
    assert download(remote, tmp_path).read_bytes() == server.content


@pytest.mark.fault(
    "a file with another checksum than the published one", entrance="cxr-tutorial data"
)
def test_wrong_checksum(server, tmp_path, saw):
    remote = Remote(server.url, "file.npz", "0" * 32)
    with pytest.raises(DownloadError) as stopped:
        download(remote, tmp_path, "https://example.org")
    assert MD5 in str(stopped.value) and not left_in(tmp_path)
    (tmp_path / "file.npz").write_bytes(b"mine")
    with pytest.raises(DownloadError, match="is not the published file"):
        download(remote, tmp_path)
    assert (tmp_path / "file.npz").read_bytes() == b"mine"
    saw(stopped.value)


def listing(checksum: str, name: str = "file.npz") -> bytes:
    "What Mendeley Data answers when it is asked for the files of a data set."
    details = {"id": "c-1", "sha256_hash": checksum, "size": len(CONTENT), "download_url": "..."}
    files = [{"filename": "other.zip", "id": "f-0", "content_details": {"sha256_hash": "0" * 64}}]
    files.append({"filename": name, "id": "f-1", "content_details": details})
    return json.dumps(files).encode()


SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.mark.fault("a file with another checksum than its host lists", entrance="cxr-tutorial data")
def test_a_checksum_from_the_hosts_list(server, tmp_path, saw):
    address = server.url.replace("file.npz", "listing")
    remote = Remote(server.url, "file.npz", listing=address)
    server.listing = listing(SHA256.upper())
    assert download(remote, tmp_path / "right").read_bytes() == CONTENT
    server.listing = listing("1" * 64)
    with pytest.raises(DownloadError) as stopped:
        download(remote, tmp_path / "wrong", "https://example.org")
    assert SHA256 in str(stopped.value) and not left_in(tmp_path / "wrong")
    saw(stopped.value)


LISTS = {
    "that names other files": listing(SHA256, "another.npz"),
    "without checksums": b'[{"filename": "file.npz", "id": "f-1", "content_details": {}}]',
    "with something else in place of one": listing("unknown"),
    "that is a page": b"<html>maintenance</html>",
}


@pytest.mark.fault("a list of checksums {answer}", entrance="cxr-tutorial data")
@pytest.mark.parametrize("answer", LISTS)
def test_a_list_of_checksums_that_cannot_be_used(answer, server, tmp_path, saw):
    server.listing = LISTS[answer]
    address = server.url.replace("file.npz", "listing")
    with pytest.warns(UserWarning, match="list of checksums") as said:
        file = download(Remote(server.url, "file.npz", listing=address), tmp_path)
    assert file.read_bytes() == CONTENT
    saw("downloaded, with a warning", str(said[0].message), left="the complete file")


@pytest.mark.parametrize("status", [404, 503])
@pytest.mark.fault("a server that answers {status}", entrance="cxr-tutorial data")
def test_refused(status, server, tmp_path, saw):
    server.plan = [status]
    with pytest.raises(DownloadError) as stopped:
        download(Remote(server.url, "file.npz", MD5), tmp_path / "new", "https://example.org")
    assert str(status) in str(stopped.value) and "with a browser" in str(stopped.value)
    assert "\n" not in str(stopped.value) and not left_in(tmp_path)
    saw(stopped.value)


@pytest.mark.fault("no network", entrance="cxr-tutorial data")
def test_offline(tmp_path, monkeypatch, saw):
    def nobody(*_, **__):
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", nobody)
    code, text = call("data", "pneumoniamnist", tmp_path / "new")
    last = text.strip().splitlines()[-1]
    assert code == 1 and "zenodo.org cannot be reached" in last and "with a browser" in last
    assert str(tmp_path / "new" / "pneumoniamnist.npz") in last and not left_in(tmp_path)
    assert "licence: CC BY 4.0" in text and "please cite" in text and "as published" in text
    saw("refused (exit code 1)", last)


def test_a_proxy_is_used(server, tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_port}")
    download(Remote("http://archive.invalid/file.npz", "file.npz", MD5), tmp_path)
    assert server.asked[0][0] == "http://archive.invalid/file.npz"


@pytest.mark.fault("a download for which the disk has no room", entrance="cxr-tutorial data")
def test_no_room(server, tmp_path, monkeypatch, saw):
    room = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(downloads.shutil, "disk_usage", lambda _: room)
    (tmp_path / "data").mkdir()
    with pytest.raises(DownloadError) as stopped:
        download(Remote(server.url, "file.npz"), tmp_path / "data" / "new")
    assert left_in(tmp_path) == ["data"]
    saw(stopped.value)


@pytest.mark.fault("a folder that is a file", entrance="cxr-tutorial data")
def test_a_folder_that_is_a_file(server, tmp_path, saw):
    (tmp_path / "thesis").write_text("text")
    with pytest.raises(OSError) as stopped:
        download(Remote(server.url, "file.npz"), tmp_path / "thesis")
    assert "thesis" in str(stopped.value) and (tmp_path / "thesis").read_text() == "text"
    saw(stopped.value, left="the file as it was")


@pytest.mark.fault("two processes that download one file", entrance="cxr-tutorial data")
def test_two_at_once(server, tmp_path, saw):
    place = fingerprint(tmp_path.resolve() / "file.npz")
    with FileLock(cache_dir() / f"download-{place}.lock"), pytest.raises(DownloadError) as stopped:
        download(Remote(server.url, "file.npz"), tmp_path)
    assert not left_in(tmp_path)
    saw(stopped.value)


def zip_of(file: Path, *members) -> Path:
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members:
            archive.writestr(name, content)
    return file


def a_link(name: str) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name)
    member.create_system, member.external_attr = 3, 0o120777 << 16
    return member


OUTSIDE = (
    "../out.txt",
    "a/../../out.txt",
    "/tmp/out.txt",
    "..\\out.txt",
    "C:\\out.txt",
    "C:out.txt",
)


@pytest.mark.fault("a zip file whose members leave its folder", entrance="cxr-tutorial data")
def test_no_member_leaves_its_folder(tmp_path, saw):
    for member in (*map(zipfile.ZipInfo, reversed(OUTSIDE)), a_link("inside/link")):
        file = zip_of(tmp_path / "file.zip", ("good.txt", "text"), (member, "../../target"))
        with pytest.raises(ValueError, match="is not unpacked"):
            unpack(file, tmp_path / "in" / "out")
        assert left_in(tmp_path) == ["file.zip"] and not Path("/tmp/out.txt").exists()
    zip_of(file, (OUTSIDE[0], "text"))
    with pytest.raises(ValueError) as stopped:
        unpack(file, tmp_path / "in" / "out")
    saw(stopped.value, left="the zip file")


@pytest.mark.fault("a zip file that is damaged", entrance="cxr-tutorial data")
def test_a_damaged_zip(tmp_path, saw):
    file = zip_of(tmp_path / "file.zip", ("a.txt", "text"), ("b.txt", "other text"))
    file.write_bytes(file.read_bytes().replace(b"other text", b"other tixt"))
    with pytest.raises(ValueError) as stopped:
        unpack(file, tmp_path / "out")
    assert left_in(tmp_path) == ["file.zip"] and "download it again" in str(stopped.value)
    file.write_bytes(b"no zip at all")
    with pytest.raises(ValueError, match="cannot be unpacked"):
        unpack(file, tmp_path / "out")
    saw(stopped.value, left="the zip file")


def test_the_public_set_from_download_to_audit(server, tmp_path, monkeypatch):
    write_kermany(tmp_path / "source", noise())
    members = [
        (str(f.relative_to(tmp_path / "source")), f.read_bytes())
        for f in (tmp_path / "source").rglob("*.png")
    ]
    server.content = zip_of(tmp_path / "s.zip", *members).read_bytes()
    address = server.url.replace("file.npz", "listing")
    remote = Remote(server.url.replace("npz", "zip"), "ChestXRay2017.zip", listing=address)
    known = hashlib.sha256(server.content).hexdigest()
    server.listing = listing(known, "ChestXRay2017.zip")
    monkeypatch.setitem(downloads.DOWNLOADS, "kermany", remote)
    code, text = call("data", "kermany", tmp_path / "data")
    assert code == 0 and "SHA-256, as 127.0.0.1 lists it" in text, text
    assert [one.name for one in (tmp_path / "data").iterdir()] == ["ChestXRay2017"]
    code, text = call("data", "kermany", tmp_path / "data")
    assert code == 0 and [path for path, _ in server.asked] == ["/file.zip", "/listing"]
    code, text = call("audit", tmp_path / "data", "--archive", "kermany")
    assert code == 0 and "12 images of 6 patients" in text


@pytest.mark.fault("Kaggle without kagglehub", entrance="cxr-tutorial data")
def test_kaggle(tmp_path, monkeypatch, saw):
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(DownloadError) as stopped:
        fetch("nih", tmp_path / "nih")
    assert "pip install kagglehub" in str(stopped.value) and not left_in(tmp_path)
    asked = []

    def get(handle):
        asked.append(handle)
        if "rsna" in handle:
            raise PermissionError("403 Client Error.\nYou don't have permission")
        return str(tmp_path / "hub")

    fake = types.SimpleNamespace(dataset_download=get, competition_download=get)
    monkeypatch.setitem(sys.modules, "kagglehub", fake)
    assert fetch("nih", tmp_path / "nih") == tmp_path / "hub" and asked == ["nih-chest-xrays/data"]
    with pytest.raises(DownloadError, match=r"403 Client Error. You don't have.*account"):
        fetch("rsna", tmp_path / "rsna")
    saw(stopped.value)


def test_checksums_are_those_of_the_publication():
    known = {name: one.md5 for name, one in downloads.DOWNLOADS.items() if isinstance(one, Remote)}
    assert known["pneumoniamnist"] == "28209eda62fecd6e6a2d98b1501bb15f"
    assert known["chestmnist"] == "02c8a6516a18b556561a56cbdd36c4a8"
    assert known["kermany"] is None and known["covid"] is None
    assert downloads.DOWNLOADS["kermany"].listing.startswith(
        "https://data.mendeley.com/public-api/"
    )
