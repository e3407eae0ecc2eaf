"""The JupyterLab extension: its built files are committed, and match their source."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

SOURCE = ROOT / "labextension"
BUILT = SOURCE / "built"
UNREACHABLE = r"ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH"


def contents(folder: Path) -> dict[str, bytes]:
    "Every file of a folder."
    files = [file for file in folder.rglob("*") if file.is_file()]
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


def test_the_built_extension_was_made_from_these_sources():
    "The build notes a hash of each file it reads; node is not needed to compare them."
    noted = json.loads((BUILT / "sources.json").read_text())
    read = [
        f"{folder}/{file.name}"
        for folder in ("src", "style")
        for file in (SOURCE / folder).iterdir()
    ]
    assert set(read) < set(noted)
    for name, digest in noted.items():
        found = hashlib.sha256((SOURCE / name).read_bytes()).hexdigest()
        assert found == digest, f"{name} has changed: run `npm ci && npm run build` in labextension"


def test_the_built_extension_is_whole():
    "JupyterLab loads what the package file names; every file of it is under version control."
    package = json.loads((BUILT / "package.json").read_text())
    assert (BUILT / package["jupyterlab"]["_build"]["load"]).is_file()
    listed = subprocess.run(["git", "ls-files", "."], cwd=BUILT, capture_output=True, text=True)
    if listed.returncode == 0:  # not in an unpacked archive
        assert set(listed.stdout.split()) == set(contents(BUILT))
    whole = b"".join(contents(BUILT).values())  # nothing of the computer that built it
    assert not re.search(rb"registry\.|localhost|/(home|Users|root|tmp|work)/", whole)


def test_the_wheel_brings_the_extension(tmp_path):
    "For pip install and for editable installations: both ask the same function."
    code = "import setuptools; setuptools.setup = dict; import setup, json; "
    code += "print(json.dumps(setup.extension_files()))"
    command = [sys.executable, "-c", code]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    packed = {}
    for place, files in json.loads(said.splitlines()[-1]):
        inside = place.removeprefix("share/jupyter/labextensions/cxr-tutorial-cells").lstrip("/")
        for file in files:
            packed[str(Path(inside, Path(file).name))] = (ROOT / file).read_bytes()
    assert packed == contents(BUILT)


@pytest.mark.slow
def test_a_new_build_is_the_same_byte_for_byte(tmp_path):
    if not shutil.which("npm"):
        pytest.skip("npm is not installed: the extension cannot be built")
    copy = tmp_path / "labextension"
    shutil.copytree(SOURCE, copy, ignore=shutil.ignore_patterns("node_modules", "built", "lib"))
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    got = subprocess.run(command, cwd=copy, capture_output=True, text=True)
    if got.returncode and re.search(UNREACHABLE, got.stderr):
        pytest.skip("npm reaches no registry: the extension cannot be built")
    assert got.returncode == 0, got.stderr
    made = subprocess.run(["npm", "run", "build"], cwd=copy, capture_output=True, text=True)
    assert made.returncode == 0, made.stdout + made.stderr
    assert contents(copy / "built") == contents(BUILT)
