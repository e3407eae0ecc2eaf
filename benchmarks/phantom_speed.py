"""How many phantoms a second, with masks, with one process and with all cores?

And how long does the course's cohort take? Asserts nothing.
"""

import os
import tempfile
import time

from cxr_tutorial.phantom.cohort import COURSE, write_cohort

IMAGES = 200


def timed(**settings) -> tuple[int, float]:
    "Number of images of a cohort, and the seconds that it took."
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        table = write_cohort(f"{folder}/cohort", **settings)
        return len(table), time.perf_counter() - start


def main() -> None:
    cores = os.cpu_count() or 1
    timed(patients=2 * cores, size=(64, 80))  # starts the worker processes
    print("| size, with masks | 1 process (images/s) | all cores (images/s) |\n|---|---|---|")
    for size in ((96, 120), (224, 280), (256, 256)):
        rates = []
        for workers in (1, cores):
            images, seconds = timed(
                patients=IMAGES, images_per_patient=1.0, size=size, masks=True, workers=workers
            )
            rates.append(images / seconds)
        print(f"| {size[0]} x {size[1]} | {rates[0]:.0f} | {rates[1]:.0f} |")
    images, seconds = timed(settings=COURSE)
    print(f"\ncourse cohort: {images} images in {seconds:.1f} seconds")


if __name__ == "__main__":
    main()
