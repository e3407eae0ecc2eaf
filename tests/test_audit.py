"""The searches for copies find what plain loops find, and their memory does not grow with pairs."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression

from cxr_tutorial.audit import looks
from cxr_tutorial.audit.altered import WAYS, _best_of, altered_copies
from cxr_tutorial.audit.copies import near_duplicates
from cxr_tutorial.audit.shortcuts import out_of_patient
from cxr_tutorial.cross_validation import PatientKFold
from cxr_tutorial.datasets import read_folder
from cxr_tutorial.files.folders import inspect_files
from cxr_tutorial.files.problems import ImageError
from cxr_tutorial.parallel import processes


@pytest.mark.parametrize("images", [70, 1500])
def test_the_most_similar_row_is_what_plain_loops_find(images):
    rng = np.random.default_rng(images)
    patient = np.sort(rng.integers(0, images // 2, images))
    image = np.arange(images) - (rng.random(images) < 0.2)  # some images have two small copies
    image = np.maximum.accumulate(image)
    patient = patient[np.searchsorted(image, image)]
    known = rng.normal(size=(images, 64)).astype(np.float32)
    first, rows = images - 64, range(images - 64, images)
    asked = rng.normal(size=(len(WAYS), 64, 64)).astype(np.float32)
    answers, alike = _best_of(asked, known, first, image, patient)
    for way, (name, *_) in enumerate(WAYS):
        whose = image if name else patient  # of one patient, only what was mirrored or turned
        for number, row in enumerate(rows):
            correlation = abs(known @ asked[way, number])
            correlation[whose == whose[row]] = 0
            assert answers[way, number] == correlation.argmax()
            assert alike[way, number] == pytest.approx(correlation.max(), rel=1e-5)


def test_near_duplicates_are_what_plain_loops_find():
    rng = np.random.default_rng(0)
    few = rng.normal(0, 40, (300, 10))  # so few numbers that reducing to sixteen loses nothing
    few[200:] = few[:100] + rng.normal(0, 1, (100, 1)) * rng.normal(0, 9, (100, 10))
    thumbnails = 100 + few @ rng.normal(0, 1, (10, 100))
    hashes = rng.random((300, 256)) > 0.5
    hashes[200:] = hashes[:100] ^ (rng.random((100, 256)) < 0.08)
    thumbnails[7] = 5  # of one grey level
    expected = []
    for first in range(300):
        for second in range(first + 1, 300):
            bits = (hashes[first] != hashes[second]).sum()
            with np.errstate(invalid="ignore"):
                correlation = np.corrcoef(thumbnails[first], thumbnails[second])[0, 1]
            if bits <= 25 and correlation >= 0.98:
                expected.append((first, second, bits))
    found = near_duplicates(thumbnails.astype(np.float32), hashes)
    assert 20 < len(expected) < 90
    assert list(found[["first", "second", "bits"]].itertuples(index=False, name=None)) == expected


def most_memory(images: int) -> float:
    "MB that a search needs at most, beside the small copies themselves."
    rng = np.random.default_rng(0)
    rough = rng.integers(0, 255, (images, 1, 8, 8), np.uint8)
    copies = np.repeat(rough.repeat(8, axis=2).repeat(8, axis=3), 2, axis=1)
    tracemalloc.start()
    try:
        altered_copies(copies)
        return tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()


def test_memory_for_altered_copies_does_not_grow_with_the_pairs(monkeypatch):
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")  # each thread has a block of its own
    few, many = most_memory(1000), most_memory(3000)
    assert many < few + 12 < 40, f"{few:.0f} MB for 1,000 images, {many:.0f} MB for 3,000"


@pytest.fixture
def noisy_cohort(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(30):
        shape = (int(rng.integers(40, 90)), int(rng.integers(40, 90)))
        patient = f"person{number // 4}_virus_{number}" if number % 2 else f"IM-{number:04d}-0001"
        file = tmp_path / "train" / ("PNEUMONIA" if number % 2 else "NORMAL") / f"{patient}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, shape, np.uint8)).save(file)
    return read_folder(tmp_path)


def test_processes_see_what_threads_see(noisy_cohort, monkeypatch):
    by_threads = looks.glance_all(noisy_cohort), looks.encodings(noisy_cohort)
    monkeypatch.setattr(processes, "_MANY", 10)
    by_processes = looks.glance_all(noisy_cohort), looks.encodings(noisy_cohort)
    assert by_threads[1].equals(by_processes[1])
    table, *arrays = by_threads[0]
    assert table.equals(by_processes[0][0])
    for one, other in zip(arrays, by_processes[0][1:], strict=True):
        assert np.array_equal(one, other)


def test_processes_find_what_threads_find_in_files(noisy_cohort, monkeypatch):
    paths = [*noisy_cohort.path, *(f"{noisy_cohort.path[0]}{end}" for end in (".png", ".txt"))]
    Path(paths[7]).write_bytes(b"no image")
    Path(paths[-1]).write_bytes(b"text")
    by_threads = list(inspect_files(paths))
    kinds = [row["kind"] for row in by_threads if "kind" in row]
    assert kinds == ["not-an-image", "vanished-file", "unknown-type"]
    monkeypatch.setenv("CXR_CACHE", str(Path(paths[0]).parent))  # where nothing was found before
    monkeypatch.setattr(processes, "_MANY", 10)
    assert list(inspect_files(paths)) == by_threads


def test_a_file_that_broke_meanwhile_is_named_by_processes_too(noisy_cohort, monkeypatch):
    Path(noisy_cohort.path[7]).write_bytes(b"no image")
    monkeypatch.setattr(processes, "_MANY", 10)
    with pytest.raises(ImageError, match=Path(noisy_cohort.path[7]).name):
        looks.glance_all(noisy_cohort)


def test_border_and_corners_are_the_means_of_their_pixels(noisy_cohort):
    for path in noisy_cohort.path:
        grey = np.asarray(Image.open(path))
        edge, (height, width) = min(grey.shape) // 16, grey.shape
        y, x = np.mgrid[:height, :width]
        y, x = np.minimum(y, height - 1 - y), np.minimum(x, width - 1 - x)
        seen = looks.glance(path)[0]
        assert seen["border brightness"] == grey[(y < edge) | (x < edge)].mean()
        assert seen["corner brightness"] == grey[(y < 2 * edge) & (x < 2 * edge)].mean()


def test_each_image_is_predicted_by_a_model_of_other_groups(noisy_cohort):
    rng = np.random.default_rng(0)
    for seed in (0, 1):
        cohort = noisy_cohort.assign(group_id=rng.permutation(noisy_cohort.group_id.to_numpy()))
        fold = PatientKFold(5, seed).fold_numbers(cohort.label, cohort.group_id)
        assert cohort.assign(fold=fold).groupby("group_id").fold.nunique().max() == 1
        model, numbers = LogisticRegression(), rng.normal(size=(len(cohort), 3))
        found = out_of_patient(model, numbers, cohort, seed)
        for number in range(5):
            here = fold == number
            model.fit(numbers[~here], cohort.label[~here])
            assert np.array_equal(found[here], model.predict_proba(numbers[here]))
