"""How many phantoms a second, with masks, with one process and with all cores?

And how long does the course's cohort take? Each row is the fastest of three runs, and says what an
image costs in time of the processor, which other work on the machine changes less. Asserts nothing.
"""

import os
import tempfile
import time

from cxr_tutorial.phantom.cohort import COURSE, write_cohort

IMAGES = 200
RUNS = 3


def timed(**settings) -> tuple[int, float, float]:
    "Number of images of a cohort, the seconds that it took, and those of this process's processor."
    with tempfile.TemporaryDirectory() as folder:
        start, processor = time.perf_counter(), time.process_time()
        table = write_cohort(f"{folder}/cohort", **settings)
        return len(table), time.perf_counter() - start, time.process_time() - processor


def fastest(**settings) -> tuple[int, float, float]:
    "The same, the smallest times of several runs."
    runs = [timed(**settings) for _ in range(RUNS)]
    return runs[0][0], min(run[1] for run in runs), min(run[2] for run in runs)


def main() -> None:
    cores = os.cpu_count() or 1
    timed(patients=2 * cores, size=(64, 80), workers=cores)  # starts the worker processes
    print(
        "| size, with masks | 1 process (images/s) | processor (ms/image) | all cores (images/s) |"
    )
    print("|---|---|---|---|")
    for size in ((96, 120), (224, 280), (256, 320)):
        settings = dict(patients=IMAGES, images_per_patient=1.0, size=size, masks=True)
        images, alone, processor = fastest(workers=1, **settings)
        _, together, _ = fastest(workers=cores, **settings)
        row = [
            f"{size[0]} x {size[1]}",
            f"{images / alone:.0f}",
            f"{1000 * processor / images:.1f}",
        ]
        print(f"| {' | '.join([*row, f'{images / together:.0f}'])} |")
    images, seconds, _ = fastest(settings=COURSE)
    print(f"\ncourse cohort: {images} images in {seconds:.1f} seconds")


if __name__ == "__main__":
    main()
