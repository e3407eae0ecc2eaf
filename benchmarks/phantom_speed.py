"""How many phantoms a second, with one process and with all cores? Prints a table; asserts nothing."""

import os
import tempfile
import time

from cxr_tutorial.phantom import write_cohort

IMAGES = 100


def images_per_second(size: tuple[int, int], workers: int) -> float:
    "Simulate and write a cohort with one image per patient."
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        write_cohort(f"{folder}/cohort", patients=IMAGES, images_per_patient=1, size=size, workers=workers)
        return IMAGES / (time.perf_counter() - start)


def main() -> None:
    cores = os.cpu_count() or 1
    write_cohort(f"{tempfile.mkdtemp()}/warm_up", patients=2 * cores, size=(64, 80), workers=cores)  # starts the worker processes
    print("| size | 1 process (images/s) | all cores (images/s) |\n|---|---|---|")
    for size in ((96, 120), (224, 280), (256, 256)):
        print(f"| {size[0]} x {size[1]} | {images_per_second(size, 1):.0f} | {images_per_second(size, cores):.0f} |")


if __name__ == "__main__":
    main()
