"""Interruptions, several processes, and an environment without the notebooks' extras."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from cxr_tutorial.datasets import read_folder
from cxr_tutorial.phantom.cohort import default_cohort, write_cohort

SETTINGS = dict(patients=10, size=(64, 80))


def test_library_needs_no_extra():
    code = """
import sys
for name in ("nbdev", "fastcore", "nbclient", "nbconvert", "nbformat", "jupyterlab", "pytest"):
    sys.modules[name] = None  # importing it fails
from cxr_tutorial.splits import split_by_patient
import cxr_tutorial.study.study, cxr_tutorial.study.command, cxr_tutorial.lab.explorers
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_cohort_never_looks_whole(tmp_path, stop):
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code += "from cxr_tutorial.phantom.cohort import write_cohort; "  # also started by `nohup`
    code += f"write_cohort({str(tmp_path / 'cohort')!r}, patients=2000, workers=1)"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    deadline = time.time() + 120
    while not list(tmp_path.glob(".cohort.unfinished-*/*/*/*.jpeg")) and time.time() < deadline:
        time.sleep(0.1)
    process.send_signal(stop)
    assert process.wait(60) != 0
    assert not (tmp_path / "cohort").exists()
    if stop == signal.SIGINT:  # told politely, it cleans up
        assert not list(tmp_path.iterdir())
    assert len(write_cohort(tmp_path / "cohort", **SETTINGS)) == len(
        read_folder(tmp_path / "cohort")
    )


def test_two_processes_make_the_same_default_cohort(tmp_path):
    code = "from cxr_tutorial.phantom.cohort import default_cohort; "
    code += f"print(default_cohort({SETTINGS!r}))"
    environment = {**os.environ, "CXR_CACHE": str(tmp_path)}
    both = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    said = [p.communicate(timeout=120) for p in both]
    folders = {out.strip() for out, _ in said}
    assert len(folders) == 1 and all(p.returncode == 0 for p in both)
    assert sum("simulating" in err for _, err in said) == 1, "the cohort was simulated twice"
    assert [f.name for f in tmp_path.iterdir() if f.suffix != ".lock"] == [
        folders.pop().rsplit("/", 1)[-1]
    ]


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(),
    reason="only Linux tells the memory of a process in this way",
)
@pytest.mark.slow
def test_more_patients_need_no_more_memory(tmp_path):
    code = """
import pathlib, re, sys
from cxr_tutorial.phantom.cohort import write_cohort
settings = dict(images_per_patient=1.0, size=(64, 80), workers=1)
write_cohort(sys.argv[1], patients=int(sys.argv[2]), **settings)
# getrusage would count the memory of the process that started this one
status = pathlib.Path("/proc/self/status").read_text()
print(re.search(r"VmHWM:\\s+(\\d+)", status)[1])
"""
    few, many = (
        int(
            subprocess.run(
                [sys.executable, "-c", code, tmp_path / str(n), str(n)],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )
        for n in (20, 400)
    )
    assert many < few + 12_000, "kilobytes"  # the table of the truth is all that grows


def test_changed_settings_never_reuse_a_cohort():
    one, other = default_cohort(SETTINGS), default_cohort({**SETTINGS, "severity": (0.1, 0.2)})
    assert one != other
    assert one == default_cohort(SETTINGS)
    assert not pd.read_csv(one / "metadata.csv").severity.equals(
        pd.read_csv(other / "metadata.csv").severity
    )
