"""How do the audit's searches for copies grow? Simulated images, up to those of a large archive.

    python benchmarks/audit_growth.py [number of images ...]

Each image is a mixture of two phantoms under smooth noise, so all are chests and no two are one; of
each hundredth there is a copy, nearly identical or mirrored, which must be found. A process of its
own measures each number: seconds of the processors, seconds on the clock, and the most memory.
"""

import resource
import subprocess
import sys
import time

import imagehash
import numpy as np
from PIL import Image

from cxr_tutorial.audit.altered import altered_copies
from cxr_tutorial.audit.copies import near_duplicates
from cxr_tutorial.audit.looks import DETAIL, small_copies
from cxr_tutorial.datasets import read_folder
from cxr_tutorial.files.readers import load_image
from cxr_tutorial.phantom.cohort import default_cohort


def simulated(number: int, seed: int = 0) -> np.ndarray:  # (number, 2, DETAIL, DETAIL) uint8
    "Small copies of simulated images; the last hundredth are copies of the first ones."
    rng = np.random.default_rng(seed)
    paths = read_folder(default_cohort()).drop_duplicates("patient_id").path
    phantoms = np.stack([small_copies(Image.fromarray(load_image(path)))[0] for path in paths])
    copies = np.empty((number, 2, DETAIL, DETAIL), np.uint8)
    for row in range(number):
        first, second = phantoms[rng.choice(len(phantoms), 2, replace=False)]
        noise = Image.fromarray(rng.normal(0, 12, (12, 12)).astype(np.float32))
        noise = np.asarray(noise.resize((DETAIL, DETAIL), Image.Resampling.BICUBIC))
        share = rng.uniform(0.4, 0.6)
        copies[row] = np.clip(share * first + (1 - share) * second + noise, 0, 254)
    planted = number // 100
    copies[-planted:] = copies[:planted]
    copies[-planted::2] = copies[-planted::2, :, :, ::-1]  # every second one mirrored
    copies[-planted:] += rng.integers(0, 2, (planted, 1, DETAIL, DETAIL), np.uint8)
    return copies


def looks(copies: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    "Thumbnails and hashes, as `glance` makes them of files."
    small = [Image.fromarray(copy) for copy in copies[:, 0]]
    thumbnails = [np.asarray(one.resize((32, 32), Image.Resampling.BOX)) for one in small]
    hashes = [imagehash.phash(one, hash_size=16).hash.ravel() for one in small]
    return np.stack(thumbnails).reshape(len(copies), -1).astype(np.float32), np.stack(hashes)


def measure(number: int) -> None:
    "Print one line of the table."
    copies = simulated(number)
    thumbnails, hashes = looks(copies)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    words, found = [f"{number:7} images"], set()
    for name, work in (
        ("near", lambda: near_duplicates(thumbnails, hashes, 40, 0.97)),
        ("altered", lambda: altered_copies(copies)),
    ):
        start, used = time.perf_counter(), time.process_time()
        pairs = work()
        used, taken = time.process_time() - used, time.perf_counter() - start
        found |= set(zip(pairs["first"], pairs["second"], strict=True))
        words.append(f"{name} {used:.1f} s of processors, {taken:.1f} s, {len(pairs)} pairs")
    planted = number // 100
    lost = {(row, number - planted + row) for row in range(planted)} - found
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    words.append(f"{planted - len(lost)} of {planted} planted copies found")
    print("; ".join(words), f"; {most:.0f} MB, {before:.0f} MB before", flush=True)


if __name__ == "__main__":
    numbers = [int(number) for number in sys.argv[1:]] or [5_000, 20_000, 112_000]
    if len(numbers) == 1:
        measure(numbers[0])
    else:
        for number in numbers:
            subprocess.run([sys.executable, __file__, str(number)], check=True)
