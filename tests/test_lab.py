"""The learner's copy of the course, JupyterLab on it, and the wheel that it comes from."""

import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import pytest
from browser import VIEWPORT, _watch
from click.testing import CliRunner
from conftest import NBS, ROOT
from nbclient import NotebookClient
from nbformat.sign import NotebookNotary

from cxr_tutorial.dev import command
from cxr_tutorial.lab import working_copy
from cxr_tutorial.lab.working_copy import make_working_copy, reset_notebook, where_you_are

V4 = nbformat.v4
HIDDEN = (".cxr_course.json", ".cxr_course.lock", ".cxr_progress.json")


@pytest.fixture(scope="module", autouse=True)
def own_signatures(tmp_path_factory):
    "Signatures of notebooks go to a folder of the tests."
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_DATA_DIR", str(tmp_path_factory.mktemp("jupyter-data")))
        yield


def chapter(title: str, *sources: str) -> nbformat.NotebookNode:
    cells = [V4.new_markdown_cell(f"# {title}\n\n> What it is about")]
    cells += [V4.new_markdown_cell("**Time** 20 minutes.")]
    return V4.new_notebook(cells=[*cells, *(V4.new_code_cell(source) for source in sources)])


@pytest.fixture
def course(monkeypatch):
    "A course of two chapters in place of the real one; tests publish new versions in it."
    notebooks = {
        "course/00_first.ipynb": chapter("First", "1 + 1", "2 + 2"),
        "course/01_second.ipynb": chapter("Second", "3 + 3"),
    }

    def deliver():
        start = {"START.ipynb": working_copy._start_notebook()}
        text = nbformat.writes
        return start | {name: nbformat.reads(text(n), 4) for name, n in notebooks.items()}

    monkeypatch.setattr(working_copy, "learner_notebooks", deliver)
    return notebooks


def files(folder: Path) -> dict[str, bytes]:
    "What a learner sees in a folder."
    found = [file for file in folder.rglob("*") if file.is_file() and file.name not in HIDDEN]
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in sorted(found)}


def change(file: Path, source: str = "my answer") -> bytes:
    "A learner adds a cell."
    notebook = nbformat.read(file, 4)
    notebook.cells.append(V4.new_code_cell(source))
    nbformat.write(notebook, file)
    return file.read_bytes()


def run_all(file: Path) -> bytes:
    "What running and saving leaves in a notebook."
    notebook = nbformat.read(file, 4)
    for number, cell in enumerate(c for c in notebook.cells if c.cell_type == "code"):
        cell.execution_count = number + 1
        cell.outputs = [V4.new_output("stream", text="4")]
    nbformat.write(notebook, file)
    return file.read_bytes()


def test_a_second_start_finds_the_copy_again(course, tmp_path):
    first = make_working_copy(tmp_path / "mine")
    before = files(tmp_path / "mine")
    second = make_working_copy(tmp_path / "mine")
    assert first["new"] == second["kept"] == ["START.ipynb", *course]
    assert files(tmp_path / "mine") == before and len(before) == 3
    (tmp_path / "mine" / "course" / "01_second.ipynb").unlink()
    assert make_working_copy(tmp_path / "mine")["new"] == ["course/01_second.ipynb"]
    assert files(tmp_path / "mine") == before


def test_an_update_keeps_what_was_changed_and_brings_the_rest(course, tmp_path):
    make_working_copy(tmp_path)
    first, second = (tmp_path / name for name in course)
    mine, answers = change(first), run_all(second)
    (tmp_path / "course" / "notes.txt").write_text("mine")
    course["course/00_first.ipynb"] = chapter("First", "5 + 5")
    course["course/01_second.ipynb"] = chapter("Second", "6 + 6")
    course["course/02_third.ipynb"] = chapter("Third", "7 + 7")

    done = make_working_copy(tmp_path)
    assert done["beside"] == ["course/00_first.ipynb"] and done["new"] == ["course/02_third.ipynb"]
    assert done["updated"] == ["course/01_second.ipynb"] and done["kept"] == ["START.ipynb"]
    assert first.read_bytes() == mine and (tmp_path / "course" / "notes.txt").read_text() == "mine"
    (beside,) = tmp_path.glob("course/00_first.version-*.ipynb")
    assert "5 + 5" in beside.read_text() and "6 + 6" in second.read_text()
    (kept,) = tmp_path.glob("backups/course/01_second.*.ipynb")
    assert kept.read_bytes() == answers, "a chapter that was run is kept"
    assert f"](course/{beside.name})" in where_you_are(tmp_path).data

    before = files(tmp_path)
    assert set(make_working_copy(tmp_path)["kept"]) == {"START.ipynb", *course}
    assert files(tmp_path) == before, "what was brought once is not brought again"
    change(beside)  # they work in the new version, and the next one comes under the same number
    course["course/00_first.ipynb"] = chapter("First", "8 + 8")
    make_working_copy(tmp_path)
    assert len(list(tmp_path.glob("course/00_first.version-*.ipynb"))) == 2
    assert first.read_bytes() == mine and kept.read_bytes() == answers


def test_a_chapter_that_was_only_run_is_updated_and_one_never_opened_leaves_nothing(
    course, tmp_path
):
    make_working_copy(tmp_path)
    course["course/00_first.ipynb"] = chapter("First", "5 + 5")
    assert make_working_copy(tmp_path)["updated"] == ["course/00_first.ipynb"]
    assert not (tmp_path / "backups").exists()


def test_reset_keeps_a_backup_with_a_dated_name(course, tmp_path):
    make_working_copy(tmp_path)
    before, name = files(tmp_path), "course/00_first.ipynb"
    mine = change(tmp_path / name)
    kept = reset_notebook(tmp_path, "00")
    assert re.fullmatch(r"00_first\.\d{4}-\d\d-\d\d_\d{6}\.ipynb", kept.name)
    assert kept.read_bytes() == mine and files(tmp_path)[name] == before[name]
    again = change(tmp_path / name)
    other = reset_notebook(tmp_path, "course/00_first.ipynb")
    assert other != kept and other.read_bytes() == again and kept.read_bytes() == mine
    (tmp_path / name).unlink()
    assert reset_notebook(tmp_path, "00_first") is None and files(tmp_path)[name] == before[name]
    for unclear in ("0", "77"):
        with pytest.raises(
            ValueError, match=r"Name one of: course/00_first, course/01_second|START"
        ):
            reset_notebook(tmp_path, unclear)
    with pytest.raises(FileNotFoundError, match="no copy of the course"):
        reset_notebook(tmp_path / "backups", "00")


@pytest.mark.parametrize("held", ["holiday.jpeg", "course/thesis.txt"])
def test_a_folder_that_holds_something_else_stays_as_it_is(course, tmp_path, held):
    (tmp_path / held).parent.mkdir(exist_ok=True)
    (tmp_path / held).write_text("mine")
    with pytest.raises(FileExistsError, match=f"{held.split('/')[0]}.*Name a folder that is empty"):
        make_working_copy(tmp_path)
    assert sorted(f.relative_to(tmp_path).as_posix() for f in tmp_path.rglob("*.*")) == [held]


def test_a_file_and_a_folder_that_cannot_be_written_are_named(course, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FileExistsError, match=r"file is a file\. Name a folder"):
        make_working_copy(tmp_path / "file")
    with pytest.raises(OSError, match=r"mine could not be written .*(folder|name)"):
        make_working_copy(tmp_path / "file" / "mine")
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def die_after(writes: int, folder: Path) -> bool:
    "Bring a copy up to date in a process that dies after so many writes: was it killed?"
    child = os.fork()
    if child == 0:
        replace, left = Path.replace, [None] * writes

        def dying(self, target):
            if not left:
                os._exit(9)
            left.pop()
            return replace(self, target)

        Path.replace = dying
        make_working_copy(folder)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot copy a process")
@pytest.mark.parametrize("after", range(9))
def test_what_was_killed_half_way_is_completed(course, tmp_path, after):
    fresh, folder = tmp_path / "fresh", tmp_path / "mine"
    assert die_after(after, fresh) == (after < 7)
    make_working_copy(folder)
    first, second = (folder / name for name in course)
    mine, answers = change(first), run_all(second)
    course["course/00_first.ipynb"] = chapter("First", "5 + 5")
    course["course/01_second.ipynb"] = chapter("Second", "6 + 6")
    assert die_after(after, folder) == (after < 6)
    for place in (fresh, folder):
        for name, content in files(place).items():
            assert Path(name).name.startswith(".") or nbformat.reads(content.decode(), 4).cells
        make_working_copy(place)
    assert len(files(fresh)) == 3 and "5 + 5" in files(fresh)["course/00_first.ipynb"].decode()
    found = files(folder)
    assert found["course/00_first.ipynb"] == mine and "6 + 6" in second.read_text()
    assert answers in found.values(), "what was run is lost"
    assert len(list(folder.glob("course/00_first.version-*.ipynb"))) == 1
    assert not [file.name for file in tmp_path.rglob("*.partial*")]


def test_two_starts_at_once(course, tmp_path):
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: make_working_copy(tmp_path / "mine"), range(4)))
    assert sorted(len(d["new"]) for d in done) == [0, 0, 0, 3]
    assert len(files(tmp_path / "mine")) == 3


def test_damaged_notes_and_notebooks_lose_nothing(course, tmp_path):
    make_working_copy(tmp_path)
    first, second = (tmp_path / name for name in course)
    (tmp_path / ".cxr_course.json").write_text('{"delivered": {"course')
    mine = change(first)
    course["course/00_first.ipynb"] = chapter("First", "5 + 5")
    assert make_working_copy(tmp_path)["beside"] == ["course/00_first.ipynb"]
    assert first.read_bytes() == mine
    second.write_text("{ no notebook")
    course["course/01_second.ipynb"] = chapter("Second", "6 + 6")
    assert make_working_copy(tmp_path)["beside"] == ["course/01_second.ipynb"]
    assert second.read_text() == "{ no notebook"
    assert "cannot be read" in where_you_are(tmp_path).data


def test_start_says_where_you_are_and_keeps_notes(course, tmp_path):
    make_working_copy(tmp_path)
    start = tmp_path / "START.ipynb"
    told = "".join(nbformat.read(start, 4).cells[1].outputs[0].data["text/markdown"])
    assert "0 of 2 chapters done" in told and "Next: **[First](course/00_first.ipynb)**" in told
    run_all(tmp_path / "course" / "00_first.ipynb")
    notes = nbformat.read(start, 4)
    notes.cells.append(V4.new_markdown_cell("my notes"))
    nbformat.write(notes, start)
    stored = {"find-the-leak": {"points": 7, "of": 10, "hints": 1}}
    (tmp_path / ".cxr_progress.json").write_text(json.dumps(stored))
    make_working_copy(tmp_path)
    told = nbformat.read(start, 4).cells[1].outputs[0].data["text/markdown"]
    assert "1 of 2 chapters done" in told and "Next: **[Second](course/01_second.ipynb)**" in told
    assert "7 of 10" in told and "my notes" in start.read_text()
    assert "not for clinical use" in start.read_text()


# --- the real course


@pytest.fixture(scope="module")
def real_copy(tmp_path_factory, own_signatures) -> Path:
    folder = tmp_path_factory.mktemp("lab") / "cxr-course"
    make_working_copy(folder)
    return folder


def test_no_link_of_the_copy_is_dead(real_copy):
    links = 0
    for file in real_copy.rglob("*.ipynb"):
        for cell in nbformat.read(file, 4).cells:
            texts = [cell.source] if cell.cell_type == "markdown" else []
            texts += [
                o.data.get("text/markdown", "") for o in cell.get("outputs", []) if "data" in o
            ]
            for link in re.findall(r"\]\((?!\w+:|#)([^)#\s]+)", "\n".join(texts)):
                links += 1
                assert (file.parent / link).is_file(), f"{file.name}: {link}"
    assert links > 300


def test_chapters_come_without_answers_and_are_trusted(real_copy):
    notary = NotebookNotary()
    for file in sorted(real_copy.glob("*.ipynb")) + sorted(real_copy.glob("[ce]*/*.ipynb")):
        notebook = nbformat.read(file, 4)
        assert notary.check_signature(notebook), file
        for cell in notebook.cells:
            if cell.cell_type == "code" and cell.outputs and file.parent.name != "cxr-course":
                if file.parent.name in ("course", "exercises"):
                    assert re.search(r"^#\| label: (quiz|explorer)", cell.source, re.M), file
            assert "BEGIN SOLUTION" not in cell.source
            assert not cell.source.startswith("#| default_exp") or file.parent.name == "cache"
    kept = [c for c in nbformat.read(real_copy / "course" / "04_splits.ipynb", 4).cells]
    assert any("text/html" in o.data for c in kept for o in c.get("outputs", []))


def test_every_chapter_is_in_start(real_copy):
    told = where_you_are(real_copy).data
    for file in NBS.glob("course/*.ipynb"):
        assert f"](course/{file.name})" in told
    for file in NBS.glob("exercises/[0-9]*.ipynb"):
        assert f"](exercises/{file.name})" in told


# --- the command


def test_the_command_makes_the_copy_and_becomes_jupyterlab(course, tmp_path, monkeypatch):
    became = []
    monkeypatch.setattr(command, "_become", became.append)
    monkeypatch.chdir(tmp_path)
    for arguments in (["lab"], ["lab", "mine", "--port", "8899", "--no-browser", "--allow-root"]):
        result = CliRunner().invoke(command.main, arguments)
        assert result.exit_code == 0 and "Your copy of the course" in result.output
    assert (tmp_path / "cxr-course" / "START.ipynb").is_file()
    assert "--ServerApp.root_dir=cxr-course" in became[0]
    assert became[1][-2:] == ["--no-browser", "--allow-root"]
    assert "--ServerApp.port=8899" in became[1] and "--ServerApp.root_dir=mine" in became[1]
    change(tmp_path / "mine" / "course" / "00_first.ipynb")
    course["course/00_first.ipynb"] = chapter("First", "5 + 5")
    result = CliRunner().invoke(command.main, ["lab", "mine"])
    assert "you have changed course/00_first.ipynb" in result.output
    result = CliRunner().invoke(command.main, ["lab", "mine", "--reset", "00"])
    assert result.exit_code == 0 and "What you had is in" in result.output and len(became) == 3
    monkeypatch.chdir(tmp_path / "mine" / "course")  # as in a terminal of JupyterLab
    result = CliRunner().invoke(command.main, ["lab", "--reset", "01"])
    assert result.exit_code == 0 and not (tmp_path / "mine" / "course" / "cxr-course").exists()


@pytest.mark.parametrize("name", ["lab", "run"])
def test_without_the_lab_extra_the_command_says_how_to_get_it(monkeypatch, name):
    monkeypatch.setattr(command.importlib.util, "find_spec", lambda module: None)
    result = CliRunner().invoke(command.main, [name])
    assert result.exit_code == 1 and result.output.count("\n") == 1
    assert 'pip install "cxr_tutorial[lab]"' in result.output


# --- JupyterLab itself


class Terminal:
    "A command in a terminal of its own, as a learner starts it."

    def __init__(self, arguments: list[str], folder: Path):
        import pty

        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.execv(arguments[0], arguments)
        self.said = ""

    def wait_for(self, pattern: str, seconds: float = 60) -> str:
        end = time.monotonic() + seconds
        while not (found := re.search(pattern, self.said)):
            assert time.monotonic() < end, f"no {pattern!r} in {self.said}"
            if select.select([self.terminal], [], [], 0.2)[0]:
                self.said += os.read(self.terminal, 65536).decode(errors="replace")
        self.said = self.said[found.end() :]
        return found[0]

    def type(self, text: str) -> None:
        os.write(self.terminal, text.encode())

    def runs(self) -> bool:
        return os.waitpid(self.pid, os.WNOHANG) == (0, 0)


def wait_until_it_listens(port: int, seconds: float = 20) -> None:
    "The server shows its address a moment before it takes connections."
    end = time.monotonic() + seconds
    while True:
        with socket.socket() as sock:
            if sock.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert time.monotonic() < end, f"nothing listens at {port}"
        time.sleep(0.05)


@pytest.mark.skipif(os.name != "posix", reason="there is no pseudo-terminal")
def test_lab_opens_start_and_outlives_one_ctrl_c(chromium, real_copy, monkeypatch):
    "The whole command: a token is needed, START opens, a link leads on, Ctrl-C asks."
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    home = real_copy.parent
    monkeypatch.setenv("JUPYTERLAB_WORKSPACES_DIR", str(home / "workspaces"))
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(home / "config"))
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = str(sock.getsockname()[1])
    program = [sys.executable, "-m", "cxr_tutorial.dev.command", "lab", str(real_copy)]
    root = ["--allow-root"] if os.geteuid() == 0 else []
    lab = Terminal([*program, "--no-browser", "--port", port, *root], home)
    try:
        address = lab.wait_for(r"http://127\.0\.0\.1:\d+/lab\S*token=\w+")
        lab.wait_for("copy and paste")
        port = re.search(r":(\d+)/", address)[1]  # the next free one, if another took it meanwhile
        wait_until_it_listens(int(port))
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/api/contents/START.ipynb")
        context, errors = chromium.new_context(viewport=VIEWPORT), []
        page = context.new_page()
        _watch(page, errors)
        page.goto(address)
        page.get_by_text("chapters done").wait_for()
        assert "START.ipynb" in page.title()
        page.get_by_role("link", name="X-rays").first.click()
        page.get_by_role("heading", name="X-rays").wait_for()
        assert page.locator(".jp-mod-dirty").count() == 0, "opening a notebook changes it"
        context.close()
        assert not errors
        lab.type("\x03")
        lab.wait_for(r"\(y/\[n\]\)\?")
        lab.type("n\n")
        lab.wait_for("resuming")
        time.sleep(0.5)  # a second Ctrl-C at once would mean: do not ask
        assert lab.runs()
        lab.type("\x03")
        lab.wait_for(r"\(y/\[n\]\)\?")
        lab.type("y\n")
        assert os.waitpid(lab.pid, 0)[1] == 0
        lab.pid = None
    finally:
        if lab.pid:
            os.kill(lab.pid, signal.SIGKILL)
            os.waitpid(lab.pid, 0)
        os.close(lab.terminal)


BARS = """from time import sleep

from cxr_tutorial.parallel.processes import progress

for epoch in progress(range(2), "training", "epoch", leave=True):
    for batch in progress(range(13), "batches", "batch"):
        sleep(0.1)
print("done")"""


def test_progress_bars_leave_nothing_that_needs_a_kernel(jupyterlab):
    page = jupyterlab.show(V4.new_notebook(cells=[V4.new_code_cell(BARS)]), "bars.ipynb")
    page.locator(".jp-Notebook .cm-content").first.click()
    page.keyboard.press("Control+Enter")  # `run` would wait for the end
    page.get_by_text("training:").wait_for()  # it is shown while it works
    page.locator(".jp-OutputArea-output", has_text="done").wait_for()
    jupyterlab.wait_until_idle()
    jupyterlab.run("docmanager:save")
    saved = nbformat.read(jupyterlab.folder / "bars.ipynb", 4)
    kinds = {kind for o in saved.cells[0].outputs for kind in o.get("data", {})}
    assert kinds == set() and "widgets" not in saved.metadata
    page = jupyterlab.show(saved, "bars.ipynb", trusted=False)
    page.locator(".jp-OutputArea-output", has_text="done").wait_for()
    shown = page.locator(".jp-Notebook").inner_text()
    assert "model not found" not in shown and "training:" not in shown.split("print")[-1]
    outputs = page.locator(".jp-OutputArea-child")
    assert [text.strip() for text in outputs.all_inner_texts() if text.strip()] == ["done"]


# --- the wheel


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    "The package from its wheel, in a folder of its own; the libraries are those of the tests."
    place = tmp_path_factory.mktemp("wheel")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (place / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, place / "source" / name)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", place, place / "source"]
    subprocess.run(build, check=True, capture_output=True, text=True)
    (wheel,) = place.glob("*.whl")
    target = place / "site"
    subprocess.run(
        [*pip, "install", "--no-deps", "--no-index", "--target", target, wheel], check=True
    )
    shutil.rmtree(place / "source")
    return target


@pytest.fixture(scope="module")
def wheel_copy(installed) -> Path:
    "A copy of the course, made from the wheel in an empty folder."
    place = installed.parent / "empty"
    place.mkdir()
    code = "from cxr_tutorial.lab.working_copy import make_working_copy as m; m('cxr-course')"
    environment = os.environ | {"PYTHONPATH": str(installed)}
    subprocess.run([sys.executable, "-c", code], cwd=place, env=environment, check=True)
    return place / "cxr-course"


@pytest.fixture
def outside(wheel_copy, installed, monkeypatch) -> Path:
    "The copy, with the installed package in place of the checkout's."
    monkeypatch.setenv("PYTHONPATH", str(installed))
    return wheel_copy


def run_alone(file: Path, folder: Path) -> None:
    "Execute a notebook in a plain kernel, in a folder with nothing else in it."
    folder.mkdir(parents=True)
    notebook = nbformat.read(shutil.copy(file, folder), 4)
    where = V4.new_code_cell("import cxr_tutorial; print(cxr_tutorial.__file__)")
    notebook.cells.insert(0, where)
    paths = {"metadata": {"path": str(folder)}}
    client = NotebookClient(notebook, timeout=900, kernel_name="python3", resources=paths)
    client.execute()
    assert os.environ["PYTHONPATH"] in where.outputs[0].text, "not the installed package"
    for cell in notebook.cells[1:]:
        for output in cell.get("outputs", []):
            assert output.get("name") != "stderr", output.text
            kinds = output.get("data", {})
            assert "application/vnd.jupyter.widget-view+json" not in kinds, cell.source
    assert [file.name for file in folder.iterdir()] == [file.name], "it left something behind"


def test_a_chapter_runs_alone_from_the_wheel(outside, tmp_path):
    run_alone(outside / "course" / "01_xrays.ipynb", tmp_path / "alone")


def test_run_works_from_the_wheel(outside, tmp_path):
    command = [sys.executable, "-m", "cxr_tutorial.dev.command", "run", "01"]
    (tmp_path / "empty").mkdir()
    result = subprocess.run(command, cwd=tmp_path / "empty", capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "empty" / "_build" / "html" / "course" / "01_xrays.html").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(f.stem for f in NBS.glob("course/*.ipynb")))
def test_every_chapter_runs_alone_from_the_wheel(outside, tmp_path, name):
    run_alone(outside / "course" / f"{name}.ipynb", tmp_path / "alone")
