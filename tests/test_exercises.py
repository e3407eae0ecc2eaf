"""Exercises know the truth: their checks are checked, and so are the versions made from them."""

import ast
import inspect
import json
import os
import random
import re
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from click.testing import CliRunner
from conftest import NBS, ROOT
from test_rooms import MODULES, imported

from cxr_tutorial.dev.command import main
from cxr_tutorial.lab import exercises as engine
from cxr_tutorial.lab.exercises import Wrong, exercise_module, list_exercises, run_check
from cxr_tutorial.lab.versions import check_call, learner_version, nbgrader_source

TABLE = list_exercises()
SLUGS = TABLE.slug.tolist()
FILES = dict(zip(TABLE.slug, TABLE.file, strict=True))
LONGEST = 5  # seconds of one check, on one core


def notebook(slug: str) -> dict:
    return json.loads((NBS / "exercises" / FILES[slug]).read_text(encoding="utf-8"))


def sources(content: dict) -> list[str]:
    return ["".join(c["source"]) for c in content["cells"] if c["cell_type"] == "code"]


KEPT = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign)


def names_of(content: dict, slug: str) -> dict:
    "The names that a notebook defines. Cells that show or try something are left out."
    space = {"__name__": slug}
    for source in sources(content):
        nodes = ast.parse(source).body
        kept = [node for node in nodes if isinstance(node, KEPT)]
        asked = "result = checker" not in source and "result = run_check" not in source
        if "WRONG_WAYS = {" in source or (asked and kept == nodes):
            exec(compile(ast.Module(kept, []), slug, "exec"), space)
    return space


@cache
def solved(slug: str) -> tuple:
    "The answer of the solution, and the wrong ways."
    space = names_of(notebook(slug), slug)
    return eval(check_call(notebook(slug))[1], space), space["WRONG_WAYS"]


def stub(slug: str):
    "The answer of an untouched learner's version."
    content = learner_version(notebook(slug))
    return eval(check_call(notebook(slug))[1], names_of(content, slug))


@pytest.fixture
def seeds(monkeypatch):
    "Lets a test say which seeds a check draws."

    def start(seed: int) -> None:
        monkeypatch.setattr(engine, "_DRAW", random.Random(seed))

    return start


def kinds(result) -> set:
    return {message.kind for message in result.messages if not message.good}


def test_twelve_exercises_from_ten_minutes_upwards():
    assert len(TABLE) >= 12 and TABLE.slug.is_unique and TABLE.minutes.between(10, 240).all()
    assert TABLE.file.str[:2].astype(int).tolist() == list(range(1, len(TABLE) + 1))


@pytest.mark.parametrize("slug", SLUGS)
def test_the_solution_gets_full_points(slug, seeds):
    for seed in (1, 2):
        seeds(seed)
        answer, _ = solved(slug)
        start = time.process_time()
        result = run_check(slug, answer)
        assert time.process_time() - start < LONGEST
        assert result.points == result.of == exercise_module(slug).POINTS > 0, str(result)
        assert result.messages and not kinds(result)


@pytest.mark.parametrize("slug", SLUGS)
def test_an_untouched_stub_gets_nothing_and_no_traceback(slug):
    result = run_check(slug, stub(slug))
    assert result.points == 0 and kinds(result) == {"blank"}, str(result)


@pytest.mark.parametrize("slug", SLUGS)
def test_each_wrong_way_gets_its_own_words(slug, seeds):
    _, ways = solved(slug)
    said = {}
    assert len(ways) >= 3
    for number, (name, answer) in enumerate(ways.items()):
        seeds(100 + number)
        result = run_check(slug, answer)
        assert result.points < result.of, f"{name} gets full points"
        assert name in kinds(result), f"{name}: {result}"
        said[name] = {m.text for m in result.messages if m.kind == name}
        for message in result.messages:  # a link leads to a chapter, and to a heading in it
            assert engine._message_html(message) and len(message.text) > 20
    plain = [re.sub(r"\d+(\.\d+)?", "N", text) for texts in said.values() for text in texts]
    assert len(plain) == len(set(plain)), "two wrong ways get the same words"


def recorded(answer, kept: list):
    "The same answer, whose functions write down what they return."
    if isinstance(answer, (tuple, list)):
        return tuple(recorded(one, kept) for one in answer)
    if isinstance(answer, dict):
        return {name: recorded(one, kept) for name, one in answer.items()}
    if not inspect.isroutine(answer):
        return answer
    mine: list = []
    kept.append(mine)

    def record(*arguments, **named):
        mine.append(answer(*arguments, **named))
        return mine[-1]

    return record


def replayed(answer, kept: list):
    "The same answer, whose functions repeat what was written down, whatever they are asked."
    if isinstance(answer, (tuple, list)):
        return tuple(replayed(one, kept) for one in answer)
    if isinstance(answer, dict):
        return {name: replayed(one, kept) for name, one in answer.items()}
    if not inspect.isroutine(answer):
        return answer
    mine = kept.pop(0)
    position = iter(range(10**6))
    return lambda *_, **__: mine[next(position) % len(mine)]


@pytest.mark.parametrize("slug", SLUGS)
def test_todays_result_fails_tomorrow(slug, seeds):
    kept: list = []
    seeds(11)
    assert run_check(slug, recorded(solved(slug)[0], kept)).points == exercise_module(slug).POINTS
    assert kept and all(kept)
    seeds(12)
    result = run_check(slug, replayed(solved(slug)[0], kept))
    assert result.points < result.of / 2, str(result)


@pytest.mark.parametrize("slug", SLUGS)
def test_a_wrong_type_is_a_message(slug):
    for answer in (None, 7, "text", lambda *_: None, (len, len), [], {}):
        result = run_check(slug, answer)
        assert result.points <= result.of / 2 and kinds(result), f"{answer!r}: {result}"


@pytest.mark.parametrize("slug", SLUGS)
def test_the_stub_equals_the_solution_but_for_the_blanks(slug):
    learner, whole = learner_version(notebook(slug)), notebook(slug)
    kept = [c for c in whole["cells"] if "default_exp" not in "".join(c["source"])]
    solution = re.compile(r"^( *)### BEGIN SOLUTION\n.*?^ *### END SOLUTION$", re.S | re.M)
    blank = r"\1# YOUR CODE HERE\n\1raise NotImplementedError()"
    blanks = 0
    for mine, theirs in zip(learner["cells"], kept, strict=False):
        expected, count = solution.subn(blank, "".join(theirs["source"]))
        assert mine["source"] == re.sub(r"^#\|\s*(export|hide).*\n", "", expected, flags=re.M)
        blanks += count
    assert blanks
    nbformat.validate(nbformat.from_dict(learner))


@pytest.mark.parametrize("slug", SLUGS)
def test_a_learners_version_holds_no_solution(slug):
    text = json.dumps(learner_version(notebook(slug)))
    solutions = re.findall(
        r"### BEGIN SOLUTION\n(.*?)### END SOLUTION", "\n".join(sources(notebook(slug))), re.S
    )
    assert solutions
    for part in solutions:
        assert json.dumps(part.rstrip())[1:-1] not in text
    for word in ("BEGIN SOLUTION", "For instructors", "WRONG_WAYS", "HINTS", "def checker"):
        assert word not in text


@pytest.mark.parametrize("slug", SLUGS)
def test_an_exercise_uses_only_chapters_before_its_place(slug):
    after = "course/" + TABLE.set_index("slug").after[slug]
    assert (NBS / f"{after}.ipynb").is_file()
    for source in sources(learner_version(notebook(slug))):
        for module in imported(source):
            owner = MODULES.get(module, "")
            assert not owner.startswith("course/") or owner <= after, f"{module} comes later"


@pytest.mark.parametrize("slug", SLUGS)
def test_three_hints_lead_and_do_not_tell(slug):
    hints = exercise_module(slug).HINTS
    assert len(hints) == 3 and all(len(text) > 30 for text in hints)
    solution = "\n".join(sources(notebook(slug)))
    for part in re.findall(r"### BEGIN SOLUTION\n(.*?)### END SOLUTION", solution, re.S):
        for line in part.splitlines():
            assert len(line.strip()) < 20 or line.strip() not in " ".join(hints)


@pytest.mark.parametrize("slug", SLUGS)
def test_whatever_comes_back_is_answered_by_a_message(slug):
    for value in (None, [], "x", float("nan"), {"a": 1}, [[1, 2], [3]]):
        answer, _ = solved(slug)
        kept: list = []
        recorded(answer, kept)
        result = run_check(slug, replayed(answer, [[value] for _ in kept]))
        assert result.points < result.of


def test_nbgraders_own_preprocessor_makes_the_same_blanks():
    preprocessors = pytest.importorskip("nbgrader.preprocessors")
    clear = preprocessors.ClearSolutions()
    for slug in SLUGS:
        marked = nbformat.from_dict(nbgrader_source(notebook(slug), 10))
        theirs, _ = clear.preprocess(marked, {})
        mine = [cell["source"] for cell in learner_version(notebook(slug))["cells"]]
        graded = [c.source for c in theirs.cells if not c.source.startswith("# Graded")]
        assert graded == mine


def test_marks_without_partner_are_refused():
    from cxr_tutorial.lab.versions import clear_solution

    for source in ("### BEGIN SOLUTION", "### END SOLUTION", "### BEGIN SOLUTION\n" * 2):
        with pytest.raises(ValueError, match=r"partner|no ### END"):
            clear_solution(source)


def test_wrong_is_the_only_way_to_stop():
    with pytest.raises(Wrong, match="not-there"):
        exercise_module("not-there")


LEAK = "find-the-leak"


def filled(slug: str = LEAK) -> dict:
    "What a student who solved the exercise hands in."
    content = notebook(slug)
    texts = ["".join(cell["source"]) for cell in content["cells"]]
    end = [text.startswith("## For instructors") for text in texts].index(True)
    return {**content, "cells": content["cells"][:end]}


def with_cell(source: str) -> dict:
    "The solution, with a further cell at the end."
    content = filled()
    cell = {"cell_type": "code", "metadata": {}, "source": source, "outputs": []}
    return {
        **content,
        "cells": [*content["cells"], {**cell, "id": "more", "execution_count": None}],
    }


MEAN = """
import json, os, pathlib
for place in [pathlib.Path.cwd(), pathlib.Path.cwd().parent, pathlib.Path.home()]:
    (place / ".cxr_progress.json").write_text('{"find-the-leak": {"points": 10, "of": 10}}')
print("10 of 10 points")
import cxr_tutorial.exercises.find_the_leak as it, cxr_tutorial.lab.exercises as engine
engine.run_check = it.checker = lambda *_: engine.Result(10, 10, ())
find_leak = len
"""
HANDED_IN = {  # name: (content, points, remark)
    "ada": (filled(), 10, ""),
    "bo": (learner_version(notebook(LEAK)), 0, "still empty"),
    "dee": (with_cell("import time; time.sleep(1000)"), 0, "stopped after"),
    "eli": (with_cell("import os; os._exit(0)"), 0, "ended Python"),
    "fay": (with_cell("import sys; sys.exit(3)"), 10, ""),
    "gus": (with_cell(MEAN), 6, "set of patient ids"),
    "ida": (with_cell("del find_leak, repair_split\n1 / 0"), 0, "ZeroDivisionError"),
    "jo": ({"cells": [], "nbformat": 4}, 0, "without code"),
    "kim": ("{not a notebook", 0, "no readable notebook"),
    "lou": ("", 0, "empty file"),
}


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    "A folder of submissions of both layouts, graded by the command; its table, and the folder."
    folder = tmp_path_factory.mktemp("handed_in")
    for number, (name, (content, *_)) in enumerate(HANDED_IN.items()):
        flat = folder / f"{name}_01_find_the_leak.ipynb"
        file = folder / name / "exercises" / "01_find_the_leak.ipynb" if number % 2 else flat
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content if isinstance(content, str) else json.dumps(content))
    (folder / "moe").mkdir()
    (folder / "ned.pdf").write_bytes(b"%PDF")
    before = Path.cwd()
    os.chdir(folder)
    (folder / ".cxr_progress.json").write_text('{"find-the-leak": {"points": 3, "of": 10}}')
    try:
        command = ["grade", ".", "--csv", "points.csv", "--seconds", "25"]
        result = CliRunner().invoke(main, command)
    finally:
        os.chdir(before)
    assert result.exit_code == 0, result.output
    return pd.read_csv(folder / "points.csv", keep_default_na=False), folder, result.output


@pytest.mark.parametrize("name", HANDED_IN)
def test_a_submission_is_a_row_with_points_and_a_word(name, graded):
    row = graded[0].set_index("student").loc[name]
    _, points, remark = HANDED_IN[name]
    assert row.points == points and remark in row.remark, row.remark
    assert bool(remark) == bool(row.remark)


def test_what_is_no_notebook_is_a_row_too(graded):
    remarks = graded[0].set_index("student").remark
    assert remarks["moe"] == "no notebook in the folder" and remarks["ned"] == "no notebook"
    assert "10" in graded[2] and "stopped after" in graded[2]


def test_submissions_do_not_touch_the_graders_progress(graded):
    stored = json.loads((graded[1] / ".cxr_progress.json").read_text())
    assert stored == {LEAK: {"points": 3, "of": 10}}


def test_nbgraders_layout_is_understood(tmp_path):
    from cxr_tutorial.lab.grading import find_submissions

    file = tmp_path / "submitted" / "ada" / LEAK / "01_find_the_leak.ipynb"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(learner_version(notebook(LEAK))))
    (tmp_path / "source").mkdir()
    (tmp_path / "gradebook.db").touch()
    found = find_submissions(tmp_path)
    assert found[["student", "exercise"]].to_numpy().tolist() == [["ada", LEAK]]


def nbgrader(course: Path, *words: str) -> None:
    "Run a command of nbgrader."
    place = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = [sys.executable, "-m", "nbgrader", *words]
    own = {"PATH": place, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=course, env=os.environ | own, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("slug", SLUGS)
def test_nbgrader_accepts_cells_and_marks(slug):
    "Its own preprocessors, as `nbgrader generate_assignment` runs them."
    preprocessors = pytest.importorskip("nbgrader.preprocessors")
    points = exercise_module(slug).POINTS
    content = nbformat.from_dict(nbgrader_source(notebook(slug), points))
    for name in ("LockCells", "ClearSolutions", "ClearOutput", "CheckCellMetadata"):
        content, _ = getattr(preprocessors, name)().preprocess(content, {})
    content, _ = preprocessors.ComputeChecksums().preprocess(content, {})
    nbformat.validate(content)
    marks = [c.metadata.nbgrader for c in content.cells if "nbgrader" in c.metadata]
    assert [mark.points for mark in marks if mark.grade] == [points]
    assert all(mark.checksum for mark in marks) and any(mark.solution for mark in marks)


@pytest.mark.slow
def test_nbgrader_releases_and_grades(tmp_path):
    pytest.importorskip("nbgrader")
    from nbgrader.api import Gradebook

    from cxr_tutorial.lab.versions import write_nbgrader

    (released,) = write_nbgrader(tmp_path, only=(LEAK,))
    release = nbformat.read(released, 4)
    nbformat.validate(release)
    solved_cells = {c["id"]: "".join(c["source"]) for c in notebook(LEAK)["cells"]}
    for student, solves in (("ada", True), ("bo", False)):
        handed = nbformat.from_dict(json.loads(nbformat.writes(release)))
        for cell in handed.cells:
            if solves and cell.metadata.get("nbgrader", {}).get("solution"):
                cell.source = solved_cells[cell.id]
        file = tmp_path / "submitted" / student / LEAK / released.name
        file.parent.mkdir(parents=True)
        nbformat.write(handed, file)
    nbgrader(tmp_path, "autograde", LEAK)
    with Gradebook(f"sqlite:///{tmp_path / 'gradebook.db'}") as book:
        scores = {s.student.id: (s.score, s.max_score) for s in book.assignment_submissions(LEAK)}
    assert scores == {"ada": (10, 10), "bo": (0, 10)}


def test_without_nbgrader_the_command_says_how_to_get_it(tmp_path, monkeypatch):
    from cxr_tutorial.lab import versions

    monkeypatch.setattr(versions.importlib.util, "find_spec", lambda name: None)
    result = CliRunner().invoke(main, ["exercises", str(tmp_path / "course"), "--nbgrader"])
    assert result.exit_code == 1 and "pip install nbgrader" in result.output


def test_points_are_stored_and_the_best_result_counts(tmp_path, monkeypatch):
    (tmp_path / "exercises").mkdir()
    (tmp_path / ".cxr_progress.json").write_text("{damaged")
    monkeypatch.chdir(tmp_path / "exercises")
    answer, ways = solved(LEAK)
    for given, points in ((ways["by-image"], 4), (answer, 10), (ways["by-image"], 10)):
        engine.check(LEAK, given)
        assert engine.read_progress(tmp_path / ".cxr_progress.json")[LEAK]["points"] == points
    engine.hint(LEAK)
    row = engine.progress_table(tmp_path).set_index("slug").loc[LEAK]
    assert (row.gained, row.hints, row.solved) == (10, 1, True)
    assert "10 of" in CliRunner().invoke(main, ["exercises"]).output


def test_hints_come_one_by_one_and_then_all(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = [repr(engine.hint(LEAK)) for _ in range(5)]
    assert [text[:13] for text in said[:3]] == [f"Hint {k} of 3. "[:13] for k in (1, 2, 3)]
    assert said[3] == said[4] and all(hint in said[3] for hint in exercise_module(LEAK).HINTS)


def in_jupyterlab(jupyterlab, content: dict) -> str:
    "Run an exercise in JupyterLab: what its check shows."
    page = jupyterlab.show(nbformat.from_dict(content), "01_find_the_leak.ipynb")
    jupyterlab.run("notebook:run-all-cells")
    jupyterlab.wait_until_idle()
    return page.locator("section.cxr-check").inner_text()


def test_in_jupyterlab_the_stub_fails_with_its_message(jupyterlab):
    stub_only = learner_version(notebook(LEAK))
    said = in_jupyterlab(jupyterlab, stub_only)
    assert "0 of 10 points" in said and "find_leak is still empty" in said


def test_in_jupyterlab_the_solution_passes(jupyterlab):
    from axe_playwright_python.sync_playwright import Axe

    said = in_jupyterlab(jupyterlab, filled())
    assert "10 of 10 points" in said and "Right." in said and "To do" not in said
    found = Axe().run(jupyterlab.page, context=".cxr-check").response["violations"]
    assert not [one for one in found if one["impact"] in ("serious", "critical")], found
