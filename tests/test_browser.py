"""JupyterLab and the pages as a learner has them, in a real browser."""

import nbformat

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


def answer_by_keyboard(page) -> None:
    "The first question right, the second wrong and then right: only the first try counts."
    first, second = page.get_by_role("group", name="Question").all()
    score = page.locator(".cxr-score [role=status]")
    first.get_by_role("radio").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert first.get_by_text("✓ Correct.").is_visible()
    assert not first.get_by_text("Not this one").count(), "an answer that nobody asked for"
    page.keyboard.press("Tab")  # the button
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert second.get_by_text("✗ Not this one.").is_visible()
    assert score.inner_text() == "Score: 1 of 2 right at the first try."
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Space")
    page.keyboard.press("Enter")
    assert second.get_by_text("half of the time").is_visible()
    assert score.inner_text() == "Score: 1 of 2 right at the first try."
