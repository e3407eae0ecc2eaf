"""Any table as a cohort, and what each function says about a table that is none."""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cxr_tutorial import datasets, explore, loaders, splits
from cxr_tutorial.datasets import read_folder
from cxr_tutorial.files.folders import about
from cxr_tutorial.files.problems import CohortError, CohortWarning
from cxr_tutorial.files.tables import as_cohort, check_labels
from cxr_tutorial.splits import split_by_patient

N = 8


@pytest.fixture
def table(tmp_path) -> pd.DataFrame:
    "Eight images of four patients below `images`, and a table as others write it."
    (tmp_path / "images").mkdir()
    rng = np.random.default_rng(0)
    for number in range(N):
        grey = rng.integers(0, 255, (40, 32), dtype=np.uint8)
        Image.fromarray(grey).save(tmp_path / "images" / f"{number}.png")
    return pd.DataFrame(
        {
            "file": [f"images/{number}.png" for number in range(N)],
            "id": [f"00{number // 2}" for number in range(N)],
            "finding": ["pneumonia", "none"] * (N // 2),
            "age": range(N),
        }
    )


def read(table, folder, **options) -> tuple:
    "A cohort, and the kinds of what was said."
    options = {"path": "file", "patient": "id", "label": "finding == 'pneumonia'"} | options
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        cohort = as_cohort(table, folder=folder, workers=1, **options)
    said = [w.message for w in caught if isinstance(w.message, CohortWarning)]
    return cohort, [kind for warning in said for kind in warning.problems.kind]


def test_a_table_is_what_the_same_folder_is(tmp_path, table):
    for row in table.itertuples():
        name = "PNEUMONIA" if row.finding == "pneumonia" else "NORMAL"
        (tmp_path / "x" / name).mkdir(parents=True, exist_ok=True)
        data = (tmp_path / row.file).read_bytes()
        (tmp_path / "x" / name / f"p{row.id}_{row.Index}.png").write_bytes(data)
    by_table, said = read(table, tmp_path)
    by_folder = read_folder(tmp_path / "x", r"p(\d+)_", workers=1)
    assert not said and about(by_table)["folder"] == str(tmp_path)
    first = ["path", "patient_id", "group_id", "label", "subtype", "split"]
    assert list(by_table)[:6] == list(by_folder)[:6] == first
    same = ["image_hash", "patient_id", "group_id", "label", "width", "height", "bytes", "mode"]
    pd.testing.assert_frame_equal(
        by_table[same].sort_values("image_hash", ignore_index=True),
        by_folder[same].sort_values("image_hash", ignore_index=True),
    )
    assert by_table.age.tolist() == list(range(N))


LABELS = {
    "expression": (lambda t: t, {}),
    "backticks": (
        lambda t: t.rename(columns={"finding": "Finding Labels"}),
        {"label": "`Finding Labels`.str.contains('pneu')"},
    ),
    "words": (
        lambda t: t.assign(finding=t.finding.str.upper()),
        {"label": "finding", "values": {"Pneumonia": 1, "none": 0}},
    ),
    "usual words": (lambda t: t.replace({"none": " Normal"}), {"label": "finding"}),
    "booleans": (lambda t: t.assign(y=t.finding == "pneumonia"), {"label": "y"}),
    "numbers": (lambda t: t.assign(y=(t.finding == "pneumonia") * 1.0), {"label": "y"}),
    "numbers as text": (
        lambda t: t.assign(y=t.finding.map({"pneumonia": "1", "none": "0"})),
        {"label": "y"},
    ),
    "numbers with a meaning": (
        lambda t: t.assign(y=t.finding.map({"pneumonia": 2, "none": -1})),
        {"label": "y", "values": {2: 1, -1: 0}},
    ),
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_of_all_kinds(tmp_path, table, kind):
    change, options = LABELS[kind]
    cohort, said = read(change(table), tmp_path, **options)
    assert cohort.label.tolist() == [1, 0] * (N // 2) and not said
    assert cohort.label.dtype.kind == "i"


def test_values_may_leave_rows_out(tmp_path, table):
    values = {"pneumonia": 1, "none": 0, "other": None}
    table.loc[:1, "finding"] = "other"
    cohort, said = read(table, tmp_path, label="finding", values=values)
    assert len(cohort) == N - 2 and said == ["rows-left-out"]


@pytest.mark.fault("label -1, or none", entrance="as_cohort")
def test_unknown_labels(tmp_path, table, saw):
    table["y"] = [1, 0, -1, None, 1, 0, 1, 0]
    with pytest.raises(CohortError) as stopped:
        read(table, tmp_path, label="y")
    assert stopped.value.problems.kind.tolist() == ["unknown-label"] * 2
    cohort, said = read(table, tmp_path, label="y", on_problem="skip")
    assert len(cohort) == N - 2 and said == ["unknown-label"] * 2
    saw(stopped.value)


def test_a_missing_finding_is_not_normal(tmp_path, table):
    table.loc[1, "finding"] = None
    with pytest.raises(CohortError) as stopped:
        read(table, tmp_path)
    assert stopped.value.problems.kind.tolist() == ["unknown-label"]


@pytest.mark.fault("labels in words that nobody has explained", entrance="as_cohort")
def test_words_without_values(tmp_path, table, saw):
    with pytest.raises(ValueError, match="values=") as stopped:
        read(table, tmp_path, label="finding")
    assert "\n" not in str(stopped.value)
    saw(stopped.value)


CSV = {
    "comma": lambda t, f: t.to_csv(f, index=False),
    "semicolon": lambda t, f: t.to_csv(f, index=False, sep=";"),
    "tab": lambda t, f: t.to_csv(f, index=False, sep="\t"),
    "UTF-8 with a mark": lambda t, f: t.to_csv(f, index=False, encoding="utf-8-sig"),
    "Latin 1": lambda t, f: t.assign(who="Jürgen").to_csv(f, index=False, encoding="latin-1"),
    "UTF-16": lambda t, f: t.to_csv(f, index=False, sep="\t", encoding="utf-16"),
    "backslashes": lambda t, f: t.assign(file=t.file.str.replace("/", "\\")).to_csv(f, index=False),
    "bare names": lambda t, f: t.assign(file=t.file.str[7:]).to_csv(f, index=False),
    "no endings": lambda t, f: t.assign(file=t.file.str[7:-4]).to_csv(f, index=False),
    "with ./": lambda t, f: t.assign(file="./" + t.file).to_csv(f, index=False),
    "whole paths": lambda t, f: t.assign(file=f"{f.parent}/" + t.file).to_csv(f, index=False),
}


@pytest.mark.parametrize("kind", CSV)
def test_csv_files_as_people_write_them(tmp_path, table, kind):
    CSV[kind](table, tmp_path / "list.csv")
    cohort, said = read(tmp_path / "list.csv", None)
    assert cohort.label.tolist() == [1, 0] * (N // 2) and not said
    assert cohort.patient_id.tolist() == [f"00{number // 2}" for number in range(N)]
    assert [Path(path).name for path in cohort.path] == [f"{number}.png" for number in range(N)]


@pytest.mark.fault("paths of a table that are not there", entrance="as_cohort")
def test_missing_files(tmp_path, table, saw):
    some = table.assign(file=table.file.replace("images/0.png", "images/gone.png"))
    with pytest.raises(CohortError) as stopped:
        read(some, tmp_path)
    assert stopped.value.problems.kind.tolist() == ["missing-file"]
    cohort, said = read(some, tmp_path, on_problem="skip")
    assert len(cohort) == N - 1 and said == ["missing-file"]
    with pytest.raises(ValueError, match="none of the 8 file") as stopped:
        read(table.assign(file="gone/" + table.file), tmp_path / "images")
    saw(stopped.value)


def test_damaged_files_are_found_as_in_a_folder(tmp_path, table):
    (tmp_path / "images" / "0.png").write_bytes(b"")
    (tmp_path / "images" / "1.png").write_text("404")
    with pytest.raises(CohortError) as stopped:
        read(table, tmp_path)
    assert stopped.value.problems.kind.tolist() == ["empty-file", "not-an-image"]
    cohort, _ = read(table, tmp_path, on_problem="skip")
    kinds = [row["kind"] for row in about(cohort)["problems"]]
    assert len(cohort) == N - 2 and kinds == ["empty-file", "not-an-image"]


@pytest.mark.fault("rows without a patient id", entrance="as_cohort")
def test_missing_ids(tmp_path, table, saw):
    with pytest.raises(CohortError) as stopped:
        read(table.assign(id=["001", None, " ", *table.id[3:]]), tmp_path)
    assert stopped.value.problems.kind.tolist() == ["missing-id"] * 2
    saw(stopped.value)


@pytest.mark.fault("ids that differ by zeros or capital letters", entrance="as_cohort")
def test_similar_ids(tmp_path, table, saw):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        cohort = as_cohort(
            table.assign(id=["7", "007", "A1", "a1", "b", "b", "c", "c"]),
            path="file",
            patient="id",
            label="finding == 'pneumonia'",
            folder=tmp_path,
        )
    assert [kind for w in caught for kind in w.message.problems.kind] == ["similar-ids"]
    assert cohort.patient_id.nunique() == 6  # nobody is merged by a guess
    saw("read, with a warning", str(caught[0].message))


@pytest.mark.fault("one patient id for all images", entrance="as_cohort")
def test_one_patient(tmp_path, table, saw):
    cohort, said = read(table.assign(id="anonymous"), tmp_path)
    assert said == ["one-patient"]
    with pytest.raises(ValueError, match="each class needs at least 3") as stopped:
        split_by_patient(cohort)
    saw("read, with a warning; a split is refused", str(stopped.value))


@pytest.mark.parametrize("ids", [[7, 7, 8, 8, 9, 9, 10, 10], [7.0, 7, 8, 8, 9, 9, 10, 10]])
def test_numbers_as_ids(tmp_path, table, ids):
    cohort, _ = read(table.assign(id=ids), tmp_path)
    assert cohort.patient_id.tolist() == ["7", "7", "8", "8", "9", "9", "10", "10"]


def test_nobody_knows_the_patient(tmp_path, table):
    cohort, said = read(table, tmp_path, patient=None)
    assert cohort.patient_id.nunique() == N and said == ["unknown-patients"]
    cohort, said = read(table, tmp_path, patient_pattern=r"([0-3])\.png|(.)", on_problem="skip")
    assert cohort.patient_id.nunique() == 4 and set(said) == {"unmatched-name"}


@pytest.mark.fault("the same file in several rows", entrance="as_cohort")
def test_repeated_rows(tmp_path, table, saw):
    cohort, said = read(pd.concat([table, table[:2]]), tmp_path)
    assert len(cohort) == N and said == ["repeated-rows"]
    with pytest.raises(CohortError) as stopped:
        read(pd.concat([table, table[:1].assign(finding="none")]), tmp_path)
    assert stopped.value.problems.kind.tolist() == ["repeated-path"]
    saw(stopped.value)


def test_further_columns(tmp_path, table):
    more = table.assign(Alter=9, severity=1, split="valid", mood="good", study_day=0)
    cohort, _ = read(more, tmp_path, columns={"age": "Alter", "severity": "severity"})
    assert set(cohort.age) == {9} and set(cohort.severity) == {1} and set(cohort.split) == {"val"}
    assert "mood" not in cohort and "study_day" in cohort


def test_one_class_only(tmp_path, table):
    with pytest.raises(CohortError) as stopped:
        read(table.assign(finding="none"), tmp_path)
    assert stopped.value.problems.kind.tolist() == ["no-image-left"]


WRONG = {
    "no such column for the file": ({"path": "where"}, ValueError, "path=... names it"),
    "no such column for the patient": ({"patient": "who"}, ValueError, "patient=... names it"),
    "no such label": ({"label": "mood"}, ValueError, "is no column, and no expression"),
    "a label that is no expression": ({"label": "finding =="}, ValueError, "no expression"),
    "a label of one value": ({"label": "1 == 1"}, ValueError, "one value"),
    "values that are no labels": (
        {"label": "finding", "values": {"none": 2}},
        ValueError,
        "0, 1 or None",
    ),
    "further columns that are not there": ({"columns": ["mood"]}, ValueError, "no column 'mood'"),
    "an unknown way with problems": ({"on_problem": "ignore"}, ValueError, "on_problem must be"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_arguments_are_told_in_one_line(tmp_path, table, kind):
    options, error, words = WRONG[kind]
    with pytest.raises(error) as stopped:
        read(table, tmp_path, **options)
    assert words in str(stopped.value) and "\n" not in str(stopped.value)


def test_what_is_no_table(tmp_path):
    (tmp_path / "a.xlsx").write_bytes(b"PK")
    for wrong, error in [
        ([1, 2], TypeError),
        (tmp_path, IsADirectoryError),
        (tmp_path / "a.xlsx", ValueError),
        (tmp_path / "none.csv", FileNotFoundError),
    ]:
        with pytest.raises(error) as stopped:
            as_cohort(wrong)
        assert "\n" not in str(stopped.value)


TAKE_A_COHORT = {
    "class_counts": lambda c: datasets.class_counts(c),
    "ChestXrayDataset": lambda c: datasets.ChestXrayDataset(c),
    "sample_rows": lambda c: explore.sample_rows(c),
    "show_samples": lambda c: explore.show_samples(c),
    "size_table": lambda c: explore.size_table(c),
    "plot_sizes": lambda c: explore.plot_sizes(c),
    "intensity_histogram": lambda c: explore.intensity_histogram(c),
    "shortcut_auroc": lambda c: explore.shortcut_auroc([0.0, 1.0], c),
    "group_column": lambda c: splits.group_column(c),
    "leakage_report": lambda c: splits.leakage_report(c),
    "assert_no_leakage": lambda c: splits.assert_no_leakage(c),
    "split_by_patient": lambda c: splits.split_by_patient(c),
    "split_table": lambda c: splits.split_table(c),
    "make_loaders": lambda c: loaders.make_loaders(c, None, None),
    "image_loader": lambda c: loaders.image_loader(c, None),
}
NO_COHORT = {
    "a list of paths": ["a.png", "b.png"],
    "a table of other columns": pd.DataFrame({"file": ["a.png"], "pid": [1], "y": [0]}),
}


@pytest.mark.parametrize("kind", NO_COHORT)
@pytest.mark.parametrize("name", TAKE_A_COHORT)
def test_each_function_says_what_is_missing(name, kind):
    with pytest.raises((TypeError, ValueError)) as stopped:
        TAKE_A_COHORT[name](NO_COHORT[kind])
    text = str(stopped.value)
    assert text.startswith("not a cohort table") and "\n" not in text


NEED_LABELS = sorted(set(TAKE_A_COHORT) - {"group_column", "leakage_report", "assert_no_leakage"})


@pytest.mark.parametrize("name", NEED_LABELS)
def test_labels_in_words_are_refused(name):
    cohort = pd.DataFrame({"path": ["a.png", "b.png"], "patient_id": ["1", "2"], "subtype": None})
    cohort = cohort.assign(group_id=["1", "2"], label=["normal", "pneumonia"], split="train")
    cohort = cohort.assign(width=1, height=1, bytes=1)
    with pytest.raises(ValueError, match="the column label must be 0 or 1") as stopped:
        TAKE_A_COHORT[name](cohort)
    assert "\n" not in str(stopped.value)


@pytest.mark.fault("a list of paths instead of a cohort", entrance="split_by_patient")
def test_a_list_is_no_cohort(saw):
    with pytest.raises(TypeError) as stopped:
        split_by_patient(["a.png"])
    saw(stopped.value)


@pytest.mark.fault("a table with other column names", entrance="split_by_patient")
def test_other_columns_are_no_cohort(saw):
    with pytest.raises(ValueError) as stopped:
        split_by_patient(pd.DataFrame({"file": ["a.png"], "pid": [1], "label": [0]}))
    saw(stopped.value)


@pytest.mark.fault("a table that nobody has split", entrance="make_loaders")
def test_loaders_without_a_split(tmp_path, table, saw):
    cohort, _ = read(table, tmp_path)
    with pytest.raises(ValueError, match="`split_by_patient` makes one") as stopped:
        loaders.make_loaders(cohort, None, None)
    saw(stopped.value)


def test_a_million_labels_are_checked_at_once():
    labels = np.arange(1_000_000) % 2
    assert check_labels(labels).sum() == 500_000
    with pytest.raises(ValueError, match="found -1"):
        check_labels(np.where(labels, labels, -1))
