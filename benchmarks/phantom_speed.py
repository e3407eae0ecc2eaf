"""How many phantoms a second, in cohorts like those of the course, with one process and with all?

And how long do the processes take to start, and the course's cohort to be simulated? Each row is
the fastest of three runs, and says what an image costs in time of the processor, which other work
on the machine changes less. Asserts nothing.
"""

import os
import tempfile
import time

from cxr_tutorial.phantom.cohort import COURSE, write_cohort

RUNS = 3
COHORTS = {
    "96 x 120": dict(size=(96, 120), patients=200, images_per_patient=1.0),
    "96 x 120, 2.5 images a patient": dict(
        size=(96, 120), patients=80, images_per_patient=6.0, most_images=5
    ),
    "128 x 160": dict(size=(128, 160), patients=200, images_per_patient=1.0),
    "160 x 160, with masks": dict(
        size=(160, 160), patients=200, images_per_patient=1.0, masks=True
    ),
    "224 x 280": dict(size=(224, 280), patients=200, images_per_patient=1.0),
    "256 x 320, with masks": dict(
        size=(256, 320), patients=200, images_per_patient=1.0, masks=True
    ),
}


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
    _, start, _ = timed(patients=2 * cores, size=(64, 80), workers=cores)
    print(f"{cores} processes start in {start:.1f} seconds\n")
    print("| cohort | 1 process (images/s) | processor (ms/image) | all cores (images/s) |")
    print("|---|---|---|---|")
    for name, settings in COHORTS.items():
        images, alone, processor = fastest(workers=1, **settings)
        _, together, _ = fastest(workers=cores, **settings)
        cost = f"{1000 * processor / images:.1f}"
        print(f"| {name} | {images / alone:.0f} | {cost} | {images / together:.0f} |")
    images, seconds, _ = fastest(settings=COURSE)
    print(f"\ncourse cohort: {images} images in {seconds:.1f} seconds")


if __name__ == "__main__":
    main()
