"""Workflows, containers, citation and issue forms agree with their schemas and with the project.

They run on other people's machines, so nothing here executes them but the lines that can run here.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import ROOT
from ruamel.yaml import YAML
from test_project import settings

from cxr_tutorial.dev.command import main

FLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("[0-9]*.yml"))
SCHEMAS = {
    **{
        file: ("vendor.github-workflows", "custom.github-workflows-require-timeout")
        for file in FLOWS
    },
    **{file: ("vendor.github-issue-forms",) for file in FORMS},
    ROOT / ".github" / "ISSUE_TEMPLATE" / "config.yml": ("vendor.github-issue-config",),
    ROOT / ".github" / "dependabot.yml": ("vendor.dependabot",),
    ROOT / "CITATION.cff": ("vendor.citation-file-format",),
}
PYTHONS = settings()["pythons"].split()


def read(file: Path) -> dict:
    "YAML 1.2, in which `on` is a word."
    return YAML(typ="safe").load(file.read_text(encoding="utf-8"))


def flow(name: str) -> dict:
    return read(ROOT / ".github" / "workflows" / f"{name}.yml")


def steps(name: str) -> list[dict]:
    return [step for job in flow(name)["jobs"].values() for step in job["steps"]]


def container() -> dict:
    return json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))


def commands() -> list[str]:
    "Every line of a shell in these files."
    texts = [step["run"] for file in FLOWS for step in steps(file.stem) if "run" in step]
    texts += [value for name, value in container().items() if name.endswith("Command")]
    texts.append((ROOT / "binder" / "postBuild").read_text(encoding="utf-8"))
    lines = [line.strip() for text in texts for line in re.split(r"\n|&&", text)]
    return [line for line in lines if line and not line.startswith("#")]


def checked(file: Path, schema: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(file)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize("file", SCHEMAS, ids=lambda file: file.name)
def test_schema(file):
    for schema in SCHEMAS[file]:
        result = checked(file, schema)
        assert result.returncode == 0, result.stdout + result.stderr


def test_a_schema_refuses_what_is_wrong(tmp_path):
    text = (ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8")
    for broken in (text.replace("runs-on:", "run-on:"), text.replace("timeout-minutes: 120", "")):
        (tmp_path / "tests.yml").write_text(broken, encoding="utf-8")
        schemas = SCHEMAS[FLOWS[0]]
        assert any(checked(tmp_path / "tests.yml", schema).returncode for schema in schemas)


def test_the_matrix_is_what_the_project_supports():
    "settings.ini, the package's metadata, the workflow, the container and Binder say the same."
    matrix = flow("tests")["jobs"]["test"]["strategy"]["matrix"]
    assert matrix["python"] == PYTHONS and PYTHONS[0] == settings()["min_python"]
    assert [s.split("-")[0] for s in matrix["system"]] == ["ubuntu", "macos", "windows"]
    command = [sys.executable, "setup.py", "--quiet", "--classifiers"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert re.findall(r"Python :: ([\d.]+)$", said, re.M) == PYTHONS
    others = [
        step["with"]["python-version"]
        for step in steps("site")
        if "python-version" in step.get("with", {})
    ]
    others.append(container()["image"].removeprefix("python:"))
    others.append((ROOT / "binder" / "runtime.txt").read_text().strip().removeprefix("python-"))
    assert len(others) == 3 and set(others) <= set(PYTHONS), others


def test_the_tests_are_those_of_the_readme():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.search(r"^make test\b", readme, re.M)
    runs = {step.get("name"): step.get("run", "").strip() for step in steps("tests")}
    assert runs["Tests"] == "make test"
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    options = re.search(r"^PYTEST := \S+ (-m pytest .+)$", makefile, re.M)[1]
    without = runs["Tests without make"].splitlines()
    assert without[-1] == f"python {options}", "as in the Makefile"
    everything = re.search(r"^\$\(STAMP\): EXTRAS := (.+)$", makefile, re.M)[1]
    install = re.search(r"install --quiet (--editable .+)$", makefile, re.M)[1]
    install = install.replace("$(EXTRAS)", everything)
    assert install.replace("'", '"') in without[-2], "as in the Makefile"


def test_what_windows_leaves_out_exists_and_has_a_reason():
    (step,) = [step for step in steps("tests") if step.get("name") == "Tests without make"]
    text = (ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8")
    left_out = re.findall(r"--(?:ignore|deselect)=(\S+)", step["env"]["PYTEST_ADDOPTS"])
    assert left_out
    for place in left_out:
        file, _, test = place.partition("::")
        assert not test or f"def {test}(" in (ROOT / file).read_text(encoding="utf-8")
        assert (ROOT / file).is_file(), place
        assert re.search(rf"^      #   {test or Path(file).name} +\S", text, re.M), f"{place}: why?"


def test_commands_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.M))
    extras = {name.removesuffix("_requirements") for name in settings() if "_requirements" in name}
    asked = [line for line in commands() if line.startswith("make ")]
    assert len(asked) >= 3 and {line.split()[1] for line in asked} <= targets, asked
    asked = re.findall(r"\.\[([\w,]+)\]", "\n".join(commands()))
    assert asked and {name for group in asked for name in group.split(",")} <= extras, asked
    for line in commands():
        for file in re.findall(r"(?:-c|--constraint) (\S+)", line):
            assert (ROOT / file.strip('"')).is_file(), line
        for command in re.findall(r"cxr-tutorial (\w+)", line):
            assert command in main.commands, line
    for name in FLOWS:
        for step in steps(name.stem):
            for file in step.get("with", {}).get("cache-dependency-path", "").split():
                assert (ROOT / file).is_file(), file


def test_what_is_installed_is_what_was_tested():
    "Whatever installs the project or PyTorch takes the versions of constraints.txt."
    installing = [line for line in commands() if re.search(r"\binstall\b.*(torch|\[lab)", line)]
    assert len(installing) >= 5
    for line in installing:
        assert re.search(r"(-c|--constraint) constraints\.txt", line), line


@pytest.mark.parametrize("name", [file.stem for file in FLOWS])
def test_a_workflow_may_no_more_than_it_must(name):
    assert flow(name)["permissions"] == {"contents": "read"}
    for job, facts in flow(name)["jobs"].items():
        more = {"pages": "write", "id-token": "write"} if job == "deploy" else None
        assert facts.get("permissions") == more, job
    for step in steps(name):
        if "uses" in step:
            assert re.fullmatch(r"[\w./-]+@(v\d+(\.\d+)*|[0-9a-f]{40})", step["uses"]), step["uses"]
    assert flow(name)["concurrency"]["group"]


def test_the_site_is_published_on_a_release_and_by_hand():
    assert set(flow("site")["on"]) == {"release", "workflow_dispatch"}
    uploads = [
        step["with"]["path"] for step in steps("site") if "upload-pages" in step.get("uses", "")
    ]
    assert uploads == [settings()["doc_path"]], "where `make site` leaves the pages"


@pytest.mark.skipif(shutil.which("bash") is None or os.name != "posix", reason="needs bash and sed")
def test_a_fork_is_published_under_its_own_address(tmp_path):
    from cxr_tutorial.dev.links import repository

    shutil.copy(ROOT / "settings.ini", tmp_path)
    (step,) = [s for s in steps("site") if s.get("name") == "The address of this repository"]
    command = step["run"] if sys.platform == "linux" else step["run"].replace("-i ", "-i '' ")
    environment = os.environ | {"GITHUB_REPOSITORY": "ada/xray-course"}
    subprocess.run(["bash", "-euc", command], cwd=tmp_path, env=environment, check=True)
    assert repository(tmp_path / "settings.ini")[0] == "https://github.com/ada/xray-course"
    text = (tmp_path / "settings.ini").read_text(encoding="utf-8")
    changed = set(text.splitlines()) ^ set((ROOT / "settings.ini").read_text().splitlines())
    assert {line.split(" = ")[0] for line in changed} == {"user", "repo"}


def test_binder_installs_the_course_without_cuda():
    file = ROOT / "binder" / "postBuild"
    text = file.read_text(encoding="utf-8")
    tracked = ["git", "ls-files", "--stage", "binder/postBuild"]
    mode = subprocess.run(tracked, cwd=ROOT, capture_output=True, text=True).stdout[:6]
    assert mode in ("100755", ""), "Binder executes it"
    assert text.startswith("#!/bin/bash\n") and "set -euo pipefail" in text
    assert "--torch-backend cpu" in text and '".[lab]"' in text
    needed = (ROOT / "binder" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in needed if not line.startswith("#")] == ["uv"], "postBuild calls it"
    if bash := shutil.which("bash"):
        subprocess.run([bash, "-n", str(file)], check=True)


def test_the_container_is_one_that_the_specification_knows():
    "No schema of it is at hand: the properties that are used, and their types."
    known = {
        "name": str,
        "image": str,
        "hostRequirements": dict,
        "onCreateCommand": str,
        "postCreateCommand": str,
        "customizations": dict,
    }
    facts = container()
    assert {name: type(value) for name, value in facts.items()} == known
    assert re.fullmatch(r"\d+gb", facts["hostRequirements"]["memory"])
    assert set(facts["customizations"]) == {"vscode"}
    assert all(
        re.fullmatch(r"[\w-]+\.[\w-]+", e) for e in facts["customizations"]["vscode"]["extensions"]
    )
    assert "make install" in facts["postCreateCommand"]


def test_the_citation_says_what_the_settings_say():
    citation, own = read(ROOT / "CITATION.cff"), settings()
    assert str(citation["version"]) == own["version"]
    assert citation["repository-code"] == own["git_url"]
    assert citation["url"] == own["doc_host"] + own["doc_baseurl"]
    assert [author["name"] for author in citation["authors"]] == [own["author"]]
    licences = {"apache2": "Apache-2.0"}
    assert citation["license"] == licences[own["license"]]
    assert f'license="{citation["license"]}"' in (ROOT / "setup.py").read_text(encoding="utf-8")


def test_the_changelog_begins_with_this_version():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## (\d+\.\d+\.\d+)$", text, re.M)
    assert versions[0] == settings()["version"]
    assert versions == sorted(versions, key=lambda v: [int(n) for n in v.split(".")], reverse=True)
    for version, body in re.findall(r"^## ([\d.]+)\n(.*?)(?=^## |\Z)", text, re.M | re.S):
        assert re.search(r"^- ", body, re.M), f"{version} says nothing"


@pytest.mark.parametrize("file", FORMS, ids=lambda file: file.name)
def test_an_issue_form_asks_what_is_needed(file):
    asked = {part["id"]: part for part in read(file)["body"] if "id" in part}
    needed = {name for name, part in asked.items() if part.get("validations", {}).get("required")}
    wrong = {"page", "number", "found", "data", "run"}
    assert needed == (wrong if "number" in file.name else {"page", "passage", "understood"})


def test_a_command_that_an_issue_form_names_works():
    text = next(file for file in FORMS if "number" in file.name).read_text(encoding="utf-8")
    (code,) = re.findall(r'`python -c "(.+)"`', text)
    command = [sys.executable, "-c", code]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "torch" in said


def test_the_help_of_every_command_works():
    for name in main.commands:
        result = CliRunner().invoke(main, [name, "--help"], prog_name="cxr-tutorial")
        assert result.exit_code == 0 and len(result.output) > 80, name
