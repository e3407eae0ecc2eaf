"""A run that is killed leaves no kernel behind."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

RUNNER = """
from pathlib import Path

import nbformat
from cxr_tutorial.dev import kernels
from cxr_tutorial.dev.runner import execute

SOURCE = '''
import os, pathlib, time
target = pathlib.Path(os.environ["SAID"])
target.with_suffix(".part").write_text(f"{os.getpid()} {os.getppid()}")
target.with_suffix(".part").rename(target)
time.sleep(600)
'''


if __name__ == "__main__":
    kernels.IMPORTED[:] = ["cxr_tutorial.dev.kernels", "ipykernel.kernelapp"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(SOURCE)])
    execute(notebook, Path.cwd(), threads=1)
"""


def is_there(pid: str) -> bool:
    "Does this process run? One that has ended and is not yet collected does not."
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(what, seconds: int) -> bool:
    end = time.monotonic() + seconds
    while not what() and time.monotonic() < end:
        time.sleep(0.1)
    return what()


@pytest.mark.skipif(sys.platform != "linux", reason="kernels are copies on Linux only")
def test_a_killed_run_takes_its_kernels_along(tmp_path):
    script, said = tmp_path / "runner.py", tmp_path / "said"
    script.write_text(RUNNER)
    # the folder of the package first, wherever pytest was started
    places = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "SAID": str(said), "PYTHONPATH": places}
    runner = subprocess.Popen([sys.executable, str(script)], cwd=tmp_path, env=environment)
    try:
        assert wait_for(said.exists, 90), "the kernel did not start"
    finally:
        runner.kill()
        runner.wait()
    kernel, server = said.read_text().split()
    gone = wait_for(lambda: not is_there(kernel) and not is_there(server), 15)
    left = [pid for pid in (kernel, server) if is_there(pid)]
    for pid in left:
        os.kill(int(pid), 9)
    assert gone, f"left behind: {len(left)} of kernel and server"
