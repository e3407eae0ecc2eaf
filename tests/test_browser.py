"""JupyterLab and the pages as a learner has them, in a real browser."""

import nbformat
import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import NBS

from cxr_tutorial.dev.pages import to_html
from cxr_tutorial.lab.quizzes import quiz

V4 = nbformat.v4
PITFALL = {
    "wrong": "#| label: wrong-example\n#| classes: wrong\nwrong = 1",
    "right": "#| label: right-example\n#| classes: right\nright = 2",
    "check": "#| label: check-example\n#| classes: check\nassert wrong != right",
}
QUESTIONS = """
### Is this right?

```python
train, test = train_test_split(df, stratify=df.diagnosis)
```

- [ ] Right: stratifying makes the parts alike.
  > It balances the classes. It does not keep the images of a patient together.
- [x] Wrong: images of one patient fall on both sides.
  > The test measures memory.

### What does an AUROC of 0.5 mean?

- [x] The scores rank no better than a coin toss.
  > A random pair of images is in the right order half of the time.
- [ ] Half of the images are classified correctly.
  > That would be the accuracy.
"""


def code_cell(source: str, shown=None, **metadata) -> nbformat.NotebookNode:
    "A code cell, with what it showed."
    cell = V4.new_code_cell(source, metadata=metadata)
    if shown is not None:
        data = {"text/html": shown._repr_html_(), "text/plain": repr(shown)}
        cell.outputs = [V4.new_output("execute_result", data, execution_count=1)]
        cell.execution_count = 1
    return cell


def example(*more: nbformat.NotebookNode) -> nbformat.NotebookNode:
    "A notebook with a pitfall, a quiz, and what else is asked for."
    source = f'#| label: quiz\n#| echo: false\nquiz("""{QUESTIONS}""")'
    asked = code_cell(source, quiz(QUESTIONS), jupyter={"source_hidden": True})
    cells = [V4.new_markdown_cell("# Example\n\n> For a test")]
    cells += [code_cell(source) for source in PITFALL.values()]
    cells += [V4.new_markdown_cell("## Quiz"), asked, *more]
    return V4.new_notebook(cells=cells)


def test_the_cells_of_a_pitfall_are_labelled(jupyterlab):
    "In a word, an icon and a colour; the word is part of the cell's accessible name."
    page = jupyterlab.show(example())
    for role, words in [("wrong", "Wrong way"), ("right", "Right way"), ("check", "Check")]:
        cell = page.get_by_role("group", name=f"{words}: Code Cell Content")
        assert cell.locator(".cxr-label").inner_text() == words
        assert cell.locator(".cxr-label svg").is_visible()
        assert f"cxr-{role}" in cell.get_attribute("class")


def test_a_quiz_answers_by_keyboard_without_a_kernel(jupyterlab):
    page = jupyterlab.show(example())
    jupyterlab.shut_kernel_down()
    answer_by_keyboard(page)


def test_a_quiz_answers_by_keyboard_on_an_offline_page(open_page, tmp_path):
    file = tmp_path / "page.html"
    file.write_text(to_html(example(), "course/example"), encoding="utf-8")
    page = open_page(file)
    assert not page.get_by_text("quiz(").count(), "the source is not for readers"
    answer_by_keyboard(page)
    page.reload()
    assert page.get_by_role("status").inner_text().startswith("Score: 1 of 2")
    page.get_by_role("button", name="Start again").press("Enter")
    assert page.get_by_role("status").inner_text().startswith("Score: 0 of 2")


def answer_by_keyboard(place) -> None:
    "The first question right, the second wrong and then right: only the first try counts."
    keyboard = getattr(place, "page", place).keyboard
    first, second = place.get_by_role("group", name="Question").all()
    score = place.locator(".cxr-score [role=status]")
    first.get_by_role("radio").first.focus()
    keyboard.press("ArrowDown")
    keyboard.press("Enter")
    assert first.get_by_text("✓ Correct.").is_visible()
    assert not first.get_by_text("Not this one").count(), "an answer that nobody asked for"
    keyboard.press("Tab")  # the button
    keyboard.press("Tab")
    keyboard.press("ArrowDown")
    keyboard.press("Enter")
    assert second.get_by_text("✗ Not this one.").is_visible()
    assert score.inner_text() == "Score: 1 of 2 right at the first try."
    keyboard.press("ArrowUp")
    keyboard.press("Space")
    keyboard.press("Enter")
    assert second.get_by_text("half of the time").is_visible()
    assert score.inner_text() == "Score: 1 of 2 right at the first try."


def test_option_lines_are_dimmed(jupyterlab):
    page = jupyterlab.show(example())
    colour = "element => getComputedStyle(element).color"
    option = page.locator(".cm-line", has_text="#| classes: wrong")
    code = page.locator(".cm-line", has_text="wrong = 1")
    assert option.evaluate(colour) != code.evaluate(colour)
    page.get_by_role("group", name="Wrong way").get_by_role("textbox").click()
    page.keyboard.press("ControlOrMeta+Home")
    page.keyboard.type("#| fig-alt: typed\n")
    typed = page.locator(".cm-line", has_text="fig-alt: typed")
    assert typed.evaluate(colour) == option.evaluate(colour)


def test_labels_follow_edits_and_new_cells(jupyterlab):
    page = jupyterlab.show(example())
    cell = page.get_by_role("group", name="Wrong way")
    cell.get_by_role("textbox").click()
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("#| classes: right\nx = 1\n#| classes: check")
    assert page.get_by_role("group", name="Right way").count() == 2
    assert page.get_by_role("group", name="Wrong way").count() == 0
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("x = 1")
    assert page.get_by_role("group", name="Right way").count() == 1
    jupyterlab.run("notebook:insert-cell-below")
    page.keyboard.type("#| classes: wrong\n2 + 2")
    page.keyboard.press("Control+Enter")
    made = page.get_by_role("group", name="Wrong way: Code Cell Content with Output")
    assert made.locator(".cxr-label").inner_text() == "Wrong way"
    jupyterlab.run("notebook:change-cell-to-markdown")
    made.wait_for(state="detached")


def test_marked_code_is_folded_and_opens_by_keyboard(jupyterlab):
    marks = ["code-fold: true", "hide", "echo: false"]
    cells = [code_cell(f"#| {mark}\nfolded = {n}") for n, mark in enumerate(marks)]
    page = jupyterlab.show(example(*cells))
    saved = page.evaluate("JSON.stringify(window.panel.content.model.toJSON().cells)")
    for n in range(len(marks)):
        line = page.locator(".cm-line", has_text=f"folded = {n}")
        button = page.locator(".jp-CodeCell .cxr-fold").nth(1 + n)  # the first is the quiz's
        assert button.inner_text() == "Show code" and not line.count()
        assert button.get_attribute("aria-expanded") == "false"
        button.focus()
        page.keyboard.press("Enter")
        assert line.is_visible() and button.get_attribute("aria-expanded") == "true"
        page.keyboard.press("Space")
        assert not line.count() and button.get_attribute("aria-expanded") == "false"
    # it is the reader's view: nothing of it goes into the file
    assert saved == page.evaluate("JSON.stringify(window.panel.content.model.toJSON().cells)")


def test_labels_survive_windowed_scrolling(jupyterlab):
    "A long notebook keeps only the cells in view on the page."
    page = jupyterlab.show(example(*(code_cell(f"# {n}\n" * 12) for n in range(60))))
    page.evaluate(
        "panel.content.notebookConfig = {...panel.content.notebookConfig, windowingMode: 'full'}"
    )
    labels = page.locator(".cxr-label")
    for place, count in ((62, 0), (0, 3), (62, 0), (0, 3)):
        page.evaluate(f"panel.content.scrollToItem({place})")
        page.wait_for_function(
            f"document.querySelectorAll('.jp-Notebook .cxr-label').length === {count}"
        )
    assert labels.all_inner_texts() == ["Wrong way", "Right way", "Check"]


def test_a_notebook_that_is_not_trusted_shows_the_answers_in_a_fold(jupyterlab):
    page = jupyterlab.show(example(), trusted=False)
    shown = page.locator(".cxr-quiz")
    shown.get_by_text("Answers").first.click()
    assert shown.get_by_text("The test measures memory.").is_visible()
    assert not shown.locator("form").count() and not shown.locator("script").count()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing_serious(jupyterlab, open_page, tmp_path, dark):
    "In what is ours: labels, buttons, dimmed lines and the quiz, before and after its answers."
    page = jupyterlab.show(example(code_cell("#| code-fold: true\nfolded = 1")))
    jupyterlab.theme(dark)
    ours = [".cxr-bar", ".cxr-option-line", ".cxr-quiz"]
    assert axe_problems(page, ours) == []
    answer_by_keyboard(page)
    assert axe_problems(page, ours) == []
    # on the Quarto site the theme is an attribute of the page
    theme, colours = ("dark", "#e6e6e6; background: #212529") if dark else ("light", "#222")
    file = tmp_path / "page.html"
    file.write_text(
        f'<!DOCTYPE html><html lang="en" data-bs-theme="{theme}"><title>Quiz</title>'
        f'<body style="color: {colours}"><main>{quiz(QUESTIONS)._repr_html_()}</main></body></html>'
    )
    page = open_page(file, dark)
    answer_by_keyboard(page)
    assert axe_problems(page, [".cxr-quiz"]) == []


def axe_problems(page, places: list[str]) -> list[str]:
    "What axe-core calls serious or critical in some places of a page."
    result = Axe().run(page, context={"include": [[place] for place in places]})
    found = [v for v in result.response["violations"] if v["impact"] in ("serious", "critical")]
    assert result.response["passes"], "axe has looked at something"
    return [f"{v['id']}: {node['html'][:200]}" for v in found for node in v["nodes"]]


def test_a_chapter_runs_to_its_end(jupyterlab):
    "Run > Run All Cells."
    jupyterlab.show(NBS / "course" / "00_environment.ipynb")
    jupyterlab.run("notebook:run-all-cells")
    jupyterlab.wait_until_idle()
    shown = jupyterlab.page.evaluate("panel.content.model.toJSON().cells")
    code = [cell for cell in shown if cell["cell_type"] == "code" and cell["source"]]
    assert code and all(cell["execution_count"] for cell in code)
    assert not [out for c in code for out in c["outputs"] if out["output_type"] == "error"]


def test_a_quiz_twice_on_a_page_without_memory(open_page, tmp_path):
    "The same cell shown again, in a browser that keeps nothing: each copy answers for itself."
    file = tmp_path / "page.html"
    shown = quiz(QUESTIONS)._repr_html_()
    file.write_text(f'<!DOCTYPE html><html lang="en"><title>Quiz</title>{shown}{shown}</html>')
    page = open_page(file)
    page.add_init_script(
        "Object.defineProperty(window, 'localStorage', {get() {throw new Error('not allowed')}})"
    )
    page.reload()
    copies = page.locator(".cxr-quiz").all()
    assert len(copies) == 2
    answer_by_keyboard(copies[1])
    assert copies[0].get_by_role("status").inner_text().startswith("Score: 0 of 2")
    ids = page.locator("[id]").evaluate_all("elements => elements.map((e) => e.id)")
    assert len(ids) == len(set(ids))


def test_an_error_of_ours_is_noticed(jupyterlab):
    "What JupyterLab does wrong on its own is left out; an error in a script of an output is not."
    broken = nbformat.v4.new_code_cell("1")
    script = "<script>setTimeout(() => { throw new Error('an error of ours'); })</script>"
    broken.outputs = [nbformat.v4.new_output("display_data", {"text/html": script})]
    jupyterlab.show(nbformat.v4.new_notebook(cells=[broken]))
    for _ in range(100):
        if jupyterlab.errors:
            break
        jupyterlab.page.wait_for_timeout(100)
    assert len(jupyterlab.errors) == 1 and "an error of ours" in jupyterlab.errors.pop()
