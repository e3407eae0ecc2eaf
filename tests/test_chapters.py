"""Every notebook runs from top to bottom in a fresh kernel, and reads like a course."""

import re
from pathlib import PurePosixPath

import nbformat
import pytest
from conftest import NBS, NOTEBOOKS, quiz_text

from cxr_tutorial.dev.pages import cell_options, reading_minutes
from cxr_tutorial.lab.quizzes import parse_quiz, quiz

COURSE = [name for name in NOTEBOOKS if name.startswith("course/")]
ROOMS = [name for name in NOTEBOOKS if "/" in name and name not in COURSE]
LINK = re.compile(r"\]\(([\w/.]+\.ipynb)(?:#([^)\s]+))?\)")


def read(name: str) -> nbformat.NotebookNode:
    return nbformat.read(NBS / f"{name}.ipynb", 4)


def prose(name: str) -> str:
    return "\n".join(c.source for c in read(name).cells if c.cell_type == "markdown")


def images(cell: nbformat.NotebookNode) -> list[tuple[str, dict]]:
    "Format and metadata of each image in the outputs of a cell."
    found = []
    for output in cell.get("outputs", []):
        for mime in output.get("data", {}):
            if mime.startswith("image/"):
                found.append((mime, output.metadata.get(mime, {})))
    return found


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_chapter(name, chapter):
    _, error, _ = chapter
    if error:
        raise error


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_no_warning_is_shown(name, chapter):
    shown = []
    for cell in chapter[0].cells:
        for output in cell.get("outputs", []):
            if output.output_type == "stream" and output.name == "stderr":
                shown.append(output.text)
    assert not shown, "a reader would stumble over this:\n" + "\n".join(shown)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_outputs_are_committed_and_small(name):
    for number, cell in enumerate(read(name).cells, 1):
        if cell.cell_type != "code":
            continue
        assert cell.execution_count, f"cell {number} was not executed before it was saved"
        for output in cell.outputs:
            assert output.output_type != "error", f"cell {number} holds an error"
            for mime, content in output.get("data", {}).items():
                size = len(content) * 3 // 4000
                assert not mime.startswith("image/") or size < 110, f"cell {number}: {size} kB"


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_figures_have_alternative_texts(name):
    "In the cell, where authors write it, and in the output's metadata, where readers' tools look."
    for number, cell in enumerate(read(name).cells):
        for _, facts in images(cell):
            written = cell_options(cell.source).get("fig-alt")
            assert written and len(written) > 20, f"cell {number} has a figure without fig-alt"
            assert facts.get("alt") == written, f"cell {number}: run it again with `make outputs`"


def test_alternative_texts_are_counted():
    everything = [facts for name in NOTEBOOKS for c in read(name).cells for _, facts in images(c)]
    assert len(everything) > 25 and all(facts.get("alt") for facts in everything)


@pytest.mark.parametrize("name", COURSE)
def test_a_chapter_says_where_it_stands(name):
    "Objectives, an honest time, what may be skipped, and the same path line in every chapter."
    second = read(name).cells[1].source
    assert "**You will be able to**" in second and "**May be skipped**" in second
    minutes = int(re.search(r"\*\*Time\*\* (\d+) minutes", second)[1])
    assert minutes == reading_minutes(read(name)), "counted by `reading_minutes`"
    path = re.search(r"^\*\*Path\*\* (.+)$", second, re.M)[1].split(" → ")
    stems = [name.split("/")[1] for name in COURSE]
    assert len(path) == len(stems)
    for step, stem in zip(path, stems, strict=True):
        assert step.startswith("**") if name.endswith(stem) else step.endswith(f"]({stem}.ipynb)")


@pytest.mark.parametrize("name", COURSE)
def test_a_chapter_ends_with_what_to_keep(name):
    "The last headings of a chapter; the capstone and the summary are made of nothing else."
    assert "\n## What to keep" in prose(name) or name.endswith(("17_capstone", "18_summary"))


@pytest.mark.parametrize("name", [*COURSE, *ROOMS])
def test_something_is_asserted(name):
    code = [c.source for c in read(name).cells if c.cell_type == "code"]
    least = 3 if name in COURSE else 1
    assert sum("assert " in c for c in code) >= least, "claims need assertions"


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_submodules_are_imported_by_name(name):
    "Forked kernels hold submodules already: a forgotten import would run here and fail elsewhere."
    code = "\n".join(c.source for c in read(name).cells if c.cell_type == "code")
    bare = r"^\s*import (?:sklearn|scipy|cleanlab|accelerate)\b(?!\.)"
    assert not re.findall(bare, code, re.M)


def quiz_cells(name: str) -> list[nbformat.NotebookNode]:
    return [c for c in read(name).cells if c.cell_type == "code" and quiz_text(c.source)]


@pytest.mark.parametrize("name", COURSE)
def test_a_quiz_asks_about_every_pitfall(name):
    "One cell under its heading, hidden; three questions or more, and right code among the wrong."
    cells = read(name).cells
    (cell,) = quiz_cells(name)
    before = cells[cells.index(cell) - 1]
    assert before.cell_type == "markdown" and "## Quiz" in before.source
    assert cell_options(cell.source)["echo"] == "false"
    assert cell.metadata["jupyter"]["source_hidden"], "answers beside the questions"
    questions = parse_quiz(quiz_text(cell.source))
    pitfalls = re.findall(r"^## Pitfall:", prose(name), re.M)
    assert len(questions) >= max(3, len(pitfalls))
    rights = [question.options[question.right].text for question in questions]
    verdicts = {found[0] for right in rights if (found := re.match(r"(Right|Wrong)\b", right))}
    alike = "a quiz whose answers are all alike asks nothing"
    assert verdicts == {"Right", "Wrong"} or not (verdicts or pitfalls), alike


@pytest.mark.parametrize("name", COURSE)
def test_an_answer_leads_back_to_each_pitfall(name):
    "An answer names the pitfall's heading, so that whoever was caught finds its cells again."
    (cell,) = quiz_cells(name)
    questions = parse_quiz(quiz_text(cell.source))
    answers = " ".join(option.answer for question in questions for option in question.options)
    answers = re.sub(r"\s+", " ", answers).lower()
    for pitfall in re.findall(r"^## Pitfall: (.+)$", prose(name), re.M):
        assert pitfall.lower() in answers, f"no answer leads back to the pitfall {pitfall!r}"


@pytest.mark.parametrize("name", COURSE)
def test_the_stored_quiz_is_today_s(name):
    "The output holds the form's script: it must be the one that is in `lab/quiz.js` now."
    (cell,) = quiz_cells(name)
    stored, made = cell.outputs[0].data, quiz(quiz_text(cell.source))
    assert stored["text/html"] == made._repr_html_(), "run it again with `make outputs`"
    assert stored["text/plain"] == repr(made)


def test_quizzes_are_not_solved_by_length_or_place():
    "The right option is neither the longest nor the first as a rule."
    questions = []
    for name in COURSE:
        for cell in quiz_cells(name):
            questions += parse_quiz(quiz_text(cell.source))
    longest = [max(q.options, key=lambda option: len(option.text)).right for q in questions]
    assert len(questions) >= 57 and sum(longest) < 0.6 * len(questions)
    for place in range(3):
        assert sum(q.right == place for q in questions) < 0.6 * len(questions)


@pytest.mark.parametrize("name", COURSE)
def test_each_task_has_its_cell(name):
    "No task changes a cell of the chapter, so that its checks go on saying what they said."
    cells = read(name).cells
    start = [i for i, c in enumerate(cells) if c.source.startswith("## Try it")]
    assert len(start) == 1 and cells[start[0]].cell_type == "markdown"
    tasks = 0
    for task, cell in zip(cells[start[0] :: 2], cells[start[0] + 1 :: 2], strict=False):
        if not re.search(rf"^{tasks + 1}\. ", task.source, re.M):
            break
        tasks += 1
        assert cell.cell_type == "code", f"task {tasks} has no cell"
        assert not re.search(rf"^{tasks + 1}\. ", task.source, re.M), "one task for a cell"
        assert not re.search(r"^\s*assert\b", cell.source, re.M), f"task {tasks} is asserted"
    assert tasks >= 2


@pytest.mark.parametrize("name", [n for n in NOTEBOOKS if re.match(r"exercises/\d", n)])
def test_a_chapter_ends_with_its_exercises(name):
    "An exercise says after which chapters it comes; the last of these links to it."
    after = read(name).cells[1].source.splitlines()[0]
    chapters = re.findall(r"\(\.\./(course/\w+)\.ipynb\)", after)
    end = read(max(chapters)).cells[-1].source
    assert end.startswith("## Exercise") and f"](../{name}.ipynb)" in end


def headings(name: str) -> set[str]:
    found = re.findall(r"^#+ (.+)$", prose(name), re.M)
    return {heading.strip().replace(" ", "-") for heading in found}


def target_of(name: str, link: str) -> str:
    "The notebook that a relative link leads to."
    parts: list[str] = []
    for part in (PurePosixPath(name).parent / link).parts:
        parts = parts[:-1] if part == ".." else [*parts, part]
    return "/".join(parts).removesuffix(".ipynb")


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_links_between_notebooks_lead_somewhere(name):
    for link, heading in LINK.findall(prose(name)):
        target = target_of(name, link)
        assert (NBS / f"{target}.ipynb").is_file(), link
        assert not heading or heading in headings(target), f"{target} has no heading {heading}"
