"""Every chapter runs from top to bottom in a fresh kernel, and reads like a course."""

import re

import nbformat
import pytest
from conftest import CHAPTERS, NBS

COURSE = [c for c in CHAPTERS if c != "index"]


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_chapter(chapter, chapters):
    _, error, _ = chapters[chapter]
    if error:
        raise error


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_no_warning_is_shown(chapter, chapters):
    notebook = chapters[chapter][0]
    shown = [o.text for c in notebook.cells if c.cell_type == "code" for o in c.outputs if o.output_type == "stream" and o.name == "stderr"]
    assert not shown, "a reader would stumble over this:\n" + "\n".join(shown)


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_outputs_are_committed_and_small(chapter):
    notebook = nbformat.read(NBS / f"{chapter}.ipynb", 4)
    for number, cell in enumerate(notebook.cells, 1):
        if cell.cell_type != "code":
            continue
        assert cell.execution_count, f"cell {number} was not executed before it was saved"
        for output in cell.outputs:
            assert output.output_type != "error", f"cell {number} holds an error"
            for mime, content in output.get("data", {}).items():
                if mime.startswith("image/"):
                    assert len(content) * 3 / 4 < 110_000, f"cell {number} holds a picture of {len(content) * 3 // 4000} kB"


@pytest.mark.parametrize("chapter", COURSE)
def test_prose_comes_first(chapter):
    notebook = nbformat.read(NBS / f"{chapter}.ipynb", 4)
    first = notebook.cells[0]
    assert first.cell_type == "markdown" and re.match(r"# .+\n\n> .+", first.source)
    assert "**Time**" in first.source and "**Where this stands**" in first.source


@pytest.mark.parametrize("chapter", COURSE)
def test_every_function_is_used_and_something_is_asserted(chapter):
    code = [c.source for c in nbformat.read(NBS / f"{chapter}.ipynb", 4).cells if c.cell_type == "code"]
    everything = "\n".join(code)
    for name in re.findall(r"^(?:def|class) (\w+)", "\n".join(c for c in code if "#| export" in c), re.M):
        assert len(re.findall(rf"\b{name}\b", everything)) > 1 or "main.commands" in everything, f"{name} is defined and never shown at work"
    assert sum("assert " in c for c in code) >= 3, "a chapter of claims needs assertions"


@pytest.mark.parametrize("chapter", COURSE)
def test_figures_have_alt_text(chapter):
    notebook = nbformat.read(NBS / f"{chapter}.ipynb", 4)
    for cell in notebook.cells:
        if cell.cell_type == "code" and any(m.startswith("image/") for o in cell.outputs for m in o.get("data", {})):
            assert "#| fig-alt:" in cell.source, f"no alt text: {cell.source[:80]}"


@pytest.mark.parametrize("chapter", [c for c in COURSE if re.match(r"[01]\d_", c)])
def test_imports_only_from_earlier_chapters(chapter):
    notebook = nbformat.read(NBS / f"{chapter}.ipynb", 4)
    order = {c.split("_", 1)[1]: c for c in COURSE}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            for module in re.findall(r"^\s*from cxr_tutorial\.(\w+) import", cell.source, re.M):
                assert order[module] <= chapter, f"{chapter} imports from {order[module]}, which comes later"


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_submodules_are_imported_by_name(chapter):
    "Forked kernels hold submodules already, so a chapter that forgot to import one would run here and fail for a reader."
    code = "\n".join(c.source for c in nbformat.read(NBS / f"{chapter}.ipynb", 4).cells if c.cell_type == "code")
    assert not re.findall(r"^\s*import (?:sklearn|scipy|cleanlab|accelerate)\b(?!\.)", code, re.M)


@pytest.mark.parametrize("chapter", [c for c in COURSE if "Pitfall:" in (NBS / f"{c}.ipynb").read_text() and not c.startswith("14")])
def test_quiz_asks_about_every_pitfall(chapter):
    notebook = nbformat.read(NBS / f"{chapter}.ipynb", 4)
    text = "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")
    quiz = text[text.index("## Quiz") : text.index("## Try it")]
    questions = re.findall(r"\*\*Question \d+\*\*\n\n```python\n.+?```\n\n<details><summary>Answer</summary>.+?</details>", quiz, re.S)
    assert len(questions) >= max(2, len(re.findall(r"^## Pitfall:", text, re.M)))
    verdicts = re.findall(r"<summary>Answer</summary>(Right|Wrong)\b", quiz)
    assert len(verdicts) == len(questions) and {"Right", "Wrong"} == set(verdicts), "a quiz whose answers are all alike asks nothing"


def headings(chapter: str) -> set[str]:
    text = "\n".join(c.source for c in nbformat.read(NBS / chapter, 4).cells if c.cell_type == "markdown")
    return {heading.strip().replace(" ", "-") for heading in re.findall(r"^#+ (.+)$", text, re.M)}


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_links_to_chapters_lead_somewhere(chapter):
    text = "\n".join(c.source for c in nbformat.read(NBS / f"{chapter}.ipynb", 4).cells if c.cell_type == "markdown")
    for target, heading in re.findall(r"\]\((\w+\.ipynb)(?:#([^)]+))?\)", text):
        assert (NBS / target).is_file(), target
        assert not heading or heading in headings(target), f"{target} has no heading {heading}"
