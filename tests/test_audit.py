"""The searches for copies find what plain loops find, and their memory does not grow with pairs."""

import tracemalloc

import numpy as np
import pytest

from cxr_tutorial.audit.altered import WAYS, _best_of, altered_copies
from cxr_tutorial.audit.copies import near_duplicates


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
