"""Slides of the chapters, in a browser: they fit a projector, keys move them, no host is asked."""

import re

import nbformat
import pytest
from axe_playwright_python.sync_playwright import Axe
from click.testing import CliRunner
from conftest import NBS

from cxr_tutorial.dev.command import main
from cxr_tutorial.dev.slides import slides_of, write_slides
from cxr_tutorial.lab.indexes import list_pitfalls

CHAPTERS = sorted(file.stem for file in NBS.glob("course/*.ipynb"))
PROJECTOR = {"width": 1280, "height": 720}
WIDE = """() => [...document.querySelectorAll('.slide, .ways > div')].flatMap((place) => {
    const right = place.getBoundingClientRect().right;
    const inside = [...place.querySelectorAll('*')].map((e) => e.getBoundingClientRect().right);
    return Math.max(...inside) > right + 1 ? [place.innerText.slice(0, 60)] : [];
})"""
SHOWN = """() => slides.findIndex((slide) => Math.abs(slide.getBoundingClientRect().top) < 2) + 1"""


@pytest.fixture
def show(open_page, tmp_path):
    "The slides of a chapter on a projector."

    def of(chapter: str):
        page = open_page(write_slides(chapter, tmp_path))
        page.set_viewport_size(PROJECTOR)
        return page

    return of


@pytest.mark.parametrize("stem", CHAPTERS)
def test_every_slide_fits_the_projector(show, stem):
    "No slide is wider than the screen; what is higher can be scrolled, also with answers unfolded."
    page = show(stem)
    assert page.evaluate(WIDE) == []
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert page.evaluate(WIDE) == []
    heights = page.evaluate("slides.map((s) => [s.clientHeight, getComputedStyle(s).overflowY])")
    assert all(height in (719, 720) and flow == "auto" for height, flow in heights)
    images = page.evaluate("[...document.images].map((i) => [i.naturalWidth, i.alt.length])")
    assert all(width > 100 and alt > 20 for width, alt in images)


@pytest.mark.parametrize("stem", CHAPTERS)
def test_slides_hold_what_a_chapter_has(stem):
    "Three slides for each pitfall, one for each figure and question; its numbers."
    notebook = nbformat.read(NBS / "course" / f"{stem}.ipynb", 4)
    slides = slides_of(notebook)
    kinds = [slide.kind for slide in slides]
    rows = list_pitfalls().query("chapter == @name", local_dict={"name": f"course/{stem}"})
    assert kinds[0] == "title" and kinds.count("question") >= 3
    assert kinds.count("claim") == kinds.count("ways") == kinds.count("check") == len(rows)
    text = nbformat.writes(notebook)
    assert kinds.count("figure") == len(re.findall(r'"#\| fig-alt:', text))
    for slide, row in zip((s for s in slides if s.kind == "check"), rows.itertuples(), strict=True):
        assert row.truth.split("; ")[0].replace("'", "&#x27;")[:20] in slide.body, row.pitfall
    for slide, row in zip((s for s in slides if s.kind == "claim"), rows.itertuples(), strict=True):
        assert slide.title == f"Pitfall: {row.link.split('#Pitfall:-')[1].replace('-', ' ')}" or (
            slide.title.replace("-", " ").lower().endswith(row.title.replace("-", " ").lower())
        )
        assert "What will this report?" in slide.body and "<table" not in slide.body
    assert not re.search(r"\]\(|\*\*|\$\\", " ".join(slide.body for slide in slides[:1]))


def test_keys_move_from_slide_to_slide(show):
    page = show("04")
    count = page.evaluate("slides.length")
    expected = 1
    for key, step in (("ArrowRight", 1), ("PageDown", 1), ("Space", 1), ("ArrowLeft", -1)):
        page.keyboard.press(key)
        expected += step
        page.wait_for_function(f"({SHOWN})() === {expected}")
    page.keyboard.press("End")
    page.wait_for_function(f"({SHOWN})() === {count}")
    assert page.locator("#place").inner_text() == f"{count} / {count}"
    page.keyboard.press("ArrowRight")  # there is no further one
    page.keyboard.press("Home")
    page.wait_for_function(f"({SHOWN})() === 1")
    assert page.url.endswith("#1")
    page.goto(page.url.replace("#1", "#5"))
    page.reload()
    page.wait_for_function(f"({SHOWN})() === 5")


def test_answers_unfold_by_keyboard(show):
    page = show("04")
    question = page.locator(".question-slide").first
    number = int(question.get_attribute("id"))
    page.evaluate(f"show({number} - 1)")
    assert not question.locator(".answer").first.is_visible()
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    assert question.locator(".answer").first.is_visible()
    assert page.evaluate(SHOWN) == number, "the key did not also move on"


def test_no_request_leaves(chromium, tmp_path):
    file = write_slides("16", tmp_path)
    context = chromium.new_context(viewport=PROJECTOR)
    page, asked = context.new_page(), []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(file.as_uri())
    context.close()
    assert [address for address in asked if not address.startswith("data:")] == [file.as_uri()]


@pytest.mark.parametrize("stem", ["02", "04", "10", "16"])
def test_axe_finds_nothing_serious(show, stem):
    page = show(stem)
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    result = Axe().run(page)
    found = [v for v in result.response["violations"] if v["impact"] in ("serious", "critical")]
    assert result.response["passes"], "axe has looked at something"
    assert [f"{v['id']}: {n['html'][:150]}" for v in found for n in v["nodes"]] == []


def test_a_printed_slide_is_a_page(show):
    page = show("13")
    printed = page.pdf(prefer_css_page_size=True)
    pages = len(re.findall(rb"/Type\s*/Page\b", printed))
    assert pages == page.evaluate("slides.length")


def test_the_command(tmp_path):
    folder = tmp_path / "class"
    result = CliRunner().invoke(main, ["slides", "04", "16", "--out", str(folder)])
    assert result.exit_code == 0 and "16_explain.html" in result.output
    assert sorted(file.name for file in folder.iterdir()) == ["04_splits.html", "16_explain.html"]
    for words, said in (
        (["slides"], "Missing argument"),
        (["slides", "exercises/01"], "names no chapter"),
        (["slides", "04", "--notebooks", str(tmp_path)], "name the folder"),
    ):
        result = CliRunner().invoke(main, words)
        assert result.exit_code != 0 and said in result.output, result.output


def test_the_words_are_those_of_the_pages():
    style = (NBS / "styles.css").read_text(encoding="utf-8")
    said = [s.body for s in slides_of(nbformat.read(NBS / "course" / "04_splits.ipynb", 4))]
    for word in ("Wrong way", "Right way"):
        assert word in style and f"{word}</p>" in "".join(said)
