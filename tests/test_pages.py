"""The pages of `make tutorial`: all of them, from the stored notebooks, opened from the disk.

What can be read from a file is tested on the file; what only a browser knows, in Chromium. The
colours of code are tested once, on a page that has every kind of token: the rules are the same on
all pages, and half of the elements are code.
"""

import json
import re
from functools import cache
from html import unescape
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import NBS, NOTEBOOKS, ROOT
from pygments.token import STANDARD_TYPES

from cxr_tutorial.dev.navigation import pages_of, read_contents
from cxr_tutorial.dev.pages import for_reading, write_pages
from cxr_tutorial.lab.assets import cell_options

WIDE, SMALL, PHONE = 2200, 1366, 390
CHAPTER = "course/04_splits"
# Rooms that show nothing but prose, code, printed text, tables and figures: in the light only.
# In the dark, too: chapters, exercises, look-up and teaching pages, the rooms lab and dev, home.
SAME_IN_THE_DARK = ("files", "parallel", "phantom", "cache", "statistics", "audit", "study")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    "The folder of all pages."
    return write_pages(NBS, tmp_path_factory.mktemp("pages")).parent


# --- what stands in the files


class Reader(HTMLParser):
    "What a page refers to, what it can be linked by, and what it says."

    def __init__(self, html: str):
        super().__init__()
        self.ids, self.links, self.loaded, self.images, self.headings = [], [], [], [], []
        self.said, self.silent, self.current = [], 0, 0
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        facts = dict(attributes)
        self.silent += tag in ("script", "style", "math", "nav", "header", "footer")
        self.current += facts.get("aria-current") == "page"
        if "id" in facts:
            self.ids.append(facts["id"])
        if tag == "a" and "href" in facts:
            self.links.append(facts["href"])
        if tag in ("script", "img") and facts.get("src"):
            self.loaded.append(facts["src"])
        if tag == "link":
            self.loaded.append(facts["href"])
        if tag == "img":
            self.images.append(facts)
        if re.fullmatch(r"h\d", tag):
            self.headings.append(int(tag[1]))
        if tag not in ("a", "b", "code", "em", "i", "span", "strong"):
            self.said.append(" ")

    def handle_endtag(self, tag):
        self.silent -= tag in ("script", "style", "math", "nav", "header", "footer")

    def handle_data(self, data):
        if not self.silent:
            self.said.append(data)

    @property
    def words(self) -> str:
        return words("".join(self.said))


def words(text: str) -> str:
    "The words of a text and nothing else, one space before and after each."
    return " " + " ".join(re.findall(r"\w+", text)) + " "


@cache
def read(file: Path) -> Reader:
    return Reader(file.read_text(encoding="utf-8"))


def problem_of(link: str, file: Path, site: Path) -> str | None:
    "What is wrong with a link, None if nothing is."
    if link.startswith("https://"):
        path = re.match(r"https://github\.com/[\w-]+/\w+/blob/\w+/([^#]+)", link)
        if path and not (ROOT / path[1]).exists():
            return "not in the repository"
        return None
    if re.match(r"[a-z]+:(?!image/)", link):
        return "an unknown kind of address"
    path, _, anchor = link.partition("#")
    target = (file.parent / unquote(path)).resolve() if path else file
    if link.startswith("data:"):
        return None
    if not target.is_file():
        return "no such file"
    if not target.is_relative_to(site.parent):
        return "outside of the pages"
    if anchor and unquote(anchor) not in read(target).ids:
        return "no such anchor"
    return None


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_link_and_image_leads_somewhere(name, site):
    file = site / f"{name}.html"
    page = read(file)
    assert len(page.links) > 50, "the navigation is there"
    found = {link: problem_of(link, file, site) for link in [*page.links, *page.loaded]}
    assert not {link: said for link, said in found.items() if said}
    assert len(page.ids) == len(set(page.ids)), "an id stands twice on the page"
    assert not [link for link in page.loaded if re.match(r"https?:|//", link)], (
        "loaded from elsewhere"
    )


def test_a_dead_link_is_seen(site):
    file = site / f"{CHAPTER}.html"
    for link, said in {
        "04_split.html": "no such file",
        "03_explore.html#Nothing": "no such anchor",
        "#nothing": "no such anchor",
        "../../../nothing": "no such file",
        "ftp://example.org": "an unknown kind of address",
        "https://github.com/owner/name/blob/main/NOTHING.md": "not in the repository",
    }.items():
        assert problem_of(link, file, site) == said, link


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_image_says_what_it_shows(name, site):
    "Only the sign in the header, beside the name it stands for, has nothing to say."
    html = (site / f"{name}.html").read_text(encoding="utf-8")
    images = read(site / f"{name}.html").images
    silent = [facts for facts in images if not facts.get("alt")]
    assert len(silent) == 1 and silent[0]["src"].endswith("assets/favicon.svg")
    for facts in images:
        said = facts["alt"]
        assert facts in silent or (len(said) > 20 and " " in said), said
        assert "no description" not in said.lower()
    stored = nbformat.read(NBS / f"{name}.ipynb", 4)
    shown = [o for c in for_reading(stored).cells for o in c.get("outputs", []) if "data" in o]
    drawn = [o for o in shown if any(mime.startswith("image/") for mime in o.data)]
    assert html.count('<div class="output image">') == len(drawn)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_nothing_is_lost(name, site):
    "Every passage of prose and every line of code that is not hidden stands on the page."
    said, notebook = read(site / f"{name}.html").words, nbformat.read(NBS / f"{name}.ipynb", 4)
    for cell in notebook.cells:
        options = cell_options(cell.source) if cell.cell_type == "code" else {}
        if "hide" in options or "default_exp" in options or options.get("echo") == "false":
            continue
        text = cell.source
        if cell.cell_type == "markdown":
            text = re.sub(r"^```\w*|^#+ |^\s*(\d+\.|[-*>]) ", "\n", text, flags=re.M)
            text = re.sub(r"!\[[^]]*\]\([^)]*\)|\$\$.*?\$\$", "\n", text, flags=re.S)
            text = re.sub(r"\]\([^)]*\)|<[^>]*>|\$[^$]*\$|\\\\|&\w+;", "\n", text)
            text = re.sub(r"\n(?!\n)|[`*\[\]|]", " | ", text)
        for passage in re.split(r"\n| \| ", re.sub(r"^#\|.*", "", text, flags=re.M)):
            assert words(passage).strip() in said, passage


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_page_says_what_and_where_it_is(name, site):
    html = (site / f"{name}.html").read_text(encoding="utf-8")
    order = pages_of(read_contents(NBS))
    here = [page.name for page in order].index(name)
    title = unescape(re.search(r"<title>(.*?)</title>", html)[1])
    assert title == ("cxr_tutorial" if name == "index" else f"{order[here].label} · cxr_tutorial")
    assert "_" not in title.removesuffix("cxr_tutorial"), "a name of a file"
    assert '<html lang="en">' in html and '<meta name="viewport"' in html
    assert len(re.search(r'<meta name="description" content="([^"]*)">', html)[1]) > 10
    assert read(site / f"{name}.html").current == 1
    for place, role in ((here - 1, "prev"), (here + 1, "next")):
        found = re.search(rf'<a rel="{role}" href="[^"]*"><span>\w+</span>([^<]*)</a>', html)
        there = 0 <= place < len(order)
        assert bool(found) == there and (not there or unescape(found[1]) == order[place].label)
    levels = read(site / f"{name}.html").headings
    assert levels.count(1) == 1 and levels[0] == 1
    assert all(b <= a + 1 for a, b in pairwise(levels)), "a level is left out"
    assert "not for clinical use" in html and "How to cite" in html and "Apache-2.0" in html


def test_mathematics_needs_no_script(site):
    "Every formula of a notebook is MathML on its page, and no script for formulas is there."
    shown = 0
    for name in NOTEBOOKS:
        html = (site / f"{name}.html").read_text(encoding="utf-8")
        cells = nbformat.read(NBS / f"{name}.ipynb", 4).cells
        prose = "\n".join(c.source for c in cells if c.cell_type == "markdown")
        prose = re.sub(r"```.*?```|`[^`]*`", "", prose, flags=re.S)
        written = re.findall(r"\$\$.+?\$\$|\$[^$\n]+\$", prose, re.S)
        assert html.count("<math ") == len(written), name
        shown += len(written)
        # in a string of a notebook these words may stand
        assert not re.search(r"<script[^>]*(mathjax|require|jquery)", html, re.I), name
    assert shown >= 10 and "<msub>" in (site / "course/01_xrays.html").read_text(encoding="utf-8")


def sections(site: Path) -> list[list[str]]:
    text = (site / "assets" / "search-index.js").read_text(encoding="utf-8")
    return json.loads(text.removeprefix("window.cxrSections = ").removesuffix(";\n"))


def test_the_index_knows_every_section_and_nothing_hidden(site):
    rows = sections(site)
    assert {link.partition(".html")[0] for link, *_ in rows} == set(NOTEBOOKS)
    for link, _, heading, text in rows:
        assert problem_of(link, site / "index.html", site) is None, link
        assert not re.search(r"\d+%\|[█▏ ]|it/s\]", text), "a progress bar"
        assert "<" not in heading
    everything = words(" ".join(text for *_, text in rows))
    hidden = 0
    for name in NOTEBOOKS:
        for cell in nbformat.read(NBS / f"{name}.ipynb", 4).cells:
            options = cell_options(cell.source) if cell.cell_type == "code" else {}
            if "hide" in options or options.get("echo") == "false":
                text = words(re.sub(r"^#\|.*", "", cell.source, flags=re.M))
                if len(text) > 40:
                    hidden += 1
                    leaked = text in everything  # pytest would compare the two for minutes
                    assert not leaked, cell.source
    assert hidden > 40


def test_shared_files_are_written_once(site):
    "A page is its text: what all pages share lies beside them."
    largest = max((site / f"{name}.html").stat().st_size for name in NOTEBOOKS)
    assert largest < 700_000
    for name in NOTEBOOKS:
        html = (site / f"{name}.html").read_text(encoding="utf-8")
        assert re.findall(r"<style\b", html.split("</head>")[0]) == []
        assert len([a for a in read(site / f"{name}.html").loaded if a.endswith(".css")]) == 2


def test_an_executed_notebook_is_shown_unless_its_code_has_changed(tmp_path):
    "Running one chapter leaves the pages of the others as they were."
    folder, out = tmp_path / "nbs", tmp_path / "out"
    folder.mkdir()
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("print(40 + 2)")])
    nbformat.write(notebook, folder / "index.ipynb")
    home = write_pages(folder, out)
    executed = nbformat.read(out / "notebooks" / "index.ipynb", 4)
    executed.cells[0].outputs = [nbformat.v4.new_output("stream", text="forty-two")]
    nbformat.write(executed, out / "notebooks" / "index.ipynb")
    write_pages(folder, out)
    assert "forty-two" in home.read_text(encoding="utf-8")
    notebook.cells[0].source = "print(1)"
    nbformat.write(notebook, folder / "index.ipynb")
    write_pages(folder, out)
    assert "forty-two" not in home.read_text(encoding="utf-8")


# --- what a browser shows


class Watched:
    "One page of a browser that notes what goes wrong and what is asked for."

    def __init__(self, browser, **options):
        self.context = browser.new_context(viewport={"width": SMALL, "height": 768}, **options)
        self.page = self.context.new_page()
        self.said, self.asked = [], []
        self.page.set_default_timeout(20_000)
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("requestfailed", self._failed)
        self.context.route(lambda address: True, self._answer)

    def _failed(self, request):
        if request.failure != "net::ERR_ABORTED":  # the page was left before it had come
            self.said.append(f"{request.url}: {request.failure}")

    def _answer(self, route):
        self.asked.append(route.request.url)
        if route.request.url.startswith(("file:", "data:", "blob:")):
            route.continue_()
        else:
            route.abort()

    def resize(self, width: int) -> None:
        self.page.set_viewport_size({"width": width, "height": 844 if width == PHONE else 768})

    def elsewhere(self) -> list[str]:
        return [address for address in self.asked if not re.match("file:|data:|blob:", address)]


@pytest.fixture(scope="module")
def _browser(chromium):
    watched = Watched(chromium)
    yield watched
    watched.context.close()


@pytest.fixture
def browser(_browser):
    "The module's page; a test fails if anything was said in its console or asked of another host."
    _browser.said.clear()
    _browser.asked.clear()
    _browser.resize(SMALL)
    yield _browser
    assert not _browser.said and not _browser.elsewhere()


@pytest.fixture
def watched(chromium):
    "`watched(...)` is a page of its own, with a memory of its own; watched in the same way."
    made = []

    def make(**options) -> Watched:
        made.append(Watched(chromium, **options))
        return made[-1]

    yield make
    for each in made:
        each.context.close()
        assert not each.said and not each.elsewhere()


TOO_WIDE = """() => {
    const root = document.documentElement;
    const cut = [...document.querySelectorAll('.highlight pre')]
        .filter((e) => e.scrollWidth > e.clientWidth + 1);
    return [root.scrollWidth - root.clientWidth, cut.map((e) => e.textContent.slice(0, 80))];
}"""


LOOK = """async ([place, rules]) => {
    const options = { preload: false, resultTypes: ['violations'] };
    if (rules.length) options.runOnly = { type: 'rule', values: rules };
    const { violations, passes } = await axe.run(place, options);
    const serious = violations.filter((v) => ['serious', 'critical'].includes(v.impact));
    const found = serious.flatMap((v) => v.nodes.map((n) => `${v.id}: ${n.html.slice(0, 200)}`));
    return [violations.length + passes.length, found];
}"""
WITHOUT_CODE = """() => {
    document.querySelectorAll('.highlight pre').forEach((e) => { e.textContent = 'code'; });
    document.querySelector('.side ul').replaceChildren();
}"""


def axe_problems(page, *rules: str, place: str = "html") -> list[str]:
    "What axe-core calls serious or critical, of all rules or of those named."
    if page.evaluate("!window.axe"):
        page.evaluate(f"{Axe().axe_script}; 0")
    looked, found = page.evaluate(LOOK, [place, list(rules)])
    assert looked, "axe has looked at something"
    return found


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_page_in_the_browser(name, site, browser):
    """It asks nothing of other hosts, says nothing in the console, never scrolls sideways, cuts no
    code, and axe finds nothing serious: all rules in the light, contrast in the dark."""
    page = browser.page
    page.goto((site / f"{name}.html").as_uri())
    for width in (PHONE, SMALL):
        browser.resize(width)
        assert page.evaluate(TOO_WIDE) == [0, []], width
    page.evaluate(WITHOUT_CODE)
    page.evaluate("document.documentElement.dataset.bsTheme = 'light'")
    assert axe_problems(page) == []
    if name.split("/")[0] not in SAME_IN_THE_DARK:
        page.evaluate("document.documentElement.dataset.bsTheme = 'dark'")
        assert axe_problems(page, "color-contrast") == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_code_and_navigation_have_contrast(theme, site, browser):
    "Every kind of token, in an ordinary cell and in that of a pitfall; the navigation, once."
    tokens = "\n".join(
        f'<span class="{kind}">{kind}</span>' for kind in STANDARD_TYPES.values() if kind
    )
    block = f'<div class="highlight"><pre>{tokens}</pre></div>'
    html = (site / "index.html").read_text(encoding="utf-8")
    more = f'{block}<div class="cell code wrong">{block}</div></article>'
    file = site / f"tokens-{theme}.html"
    file.write_text(html.replace("</article>", more), encoding="utf-8")
    browser.page.goto(file.as_uri())
    file.unlink()
    browser.page.evaluate(f"document.documentElement.dataset.bsTheme = '{theme}'")
    assert axe_problems(browser.page, "color-contrast") == []
    faint = {"light": "#949494", "dark": "#6a6a6a"}[theme]
    browser.page.evaluate(f"document.documentElement.style.setProperty('--s', '{faint}')")
    assert axe_problems(browser.page, "color-contrast"), "a faint colour goes unnoticed"


def test_the_search_goes_to_a_section_by_keyboard(site, browser):
    page = browser.page
    page.goto((site / f"{CHAPTER}.html").as_uri())
    assert not [a for a in browser.asked if "minisearch" in a], "loaded before it is used"
    page.keyboard.press("/")
    page.keyboard.type("raw DICOM values")
    status = page.get_by_role("search").get_by_role("status")
    page.wait_for_function("document.querySelector('#found').textContent.includes('section')")
    assert re.match(r"\d+ section", status.inner_text())
    first = page.locator(".results a").first
    assert "raw dicom values" in first.inner_text().lower() and "Datasets" in first.inner_text()
    assert first.locator("mark").count(), "the excerpt shows what was found"
    assert axe_problems(page, place="header") == []
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    page.wait_for_url("**/02_datasets.html#*")
    assert unquote(page.url).endswith("02_datasets.html#Pitfall:-raw-DICOM-values")
    top = page.locator(":target").evaluate("e => e.getBoundingClientRect().top")
    assert 40 < top < 300, "the heading is in view, below the header"


def test_the_search_closes_and_says_when_it_finds_nothing(site, browser):
    page = browser.page
    page.goto((site / "index.html").as_uri())
    box = page.get_by_role("searchbox")
    box.fill("qqqzzz")
    page.get_by_text("No sections").wait_for()
    box.press("Escape")
    assert not page.locator(".results").is_visible()


def opened_with(page, file: Path, wanted: str = "dark") -> str:
    "The theme of a page. Chromium hands what is kept to the next page after a moment."
    for _ in range(20):
        page.goto(file.as_uri())
        found = page.evaluate("document.documentElement.dataset.bsTheme")
        if found == wanted:
            break
        page.wait_for_timeout(100)
    return found


def test_the_theme_follows_the_system_until_the_reader_chooses(site, watched):
    shown = watched(color_scheme="dark")
    page = shown.page
    theme = "document.documentElement.dataset.bsTheme"
    page.goto((site / "index.html").as_uri())
    to_dark, to_light = (
        page.get_by_role("button", name=f"{name} theme", exact=True) for name in ("Dark", "Light")
    )  # a button says what it will do
    assert page.evaluate(theme) == "dark" and to_light.inner_text() == "Light"
    page.emulate_media(color_scheme="light")
    page.wait_for_function(f"{theme} === 'light'")
    assert to_dark.inner_text() == "Dark" and not to_light.count()
    to_dark.press("Enter")
    assert page.evaluate(theme) == "dark" and to_light.count() and not to_dark.count()
    assert opened_with(page, site / f"{CHAPTER}.html") == "dark", "remembered on another page"
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    to_light.press("Space")
    assert opened_with(page, site / f"{CHAPTER}.html", "light") == "light"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != dark


REACHABLE = """() => [...document.querySelectorAll('a, button, input, summary, [tabindex="0"]')]
    .filter((e) => e.checkVisibility({ checkVisibilityCSS: true }) && e.getClientRects().length)
    .map((e, i) => { e.dataset.place = i; return i; })"""
FOCUSED = """() => {
    const e = document.activeElement;
    return [e.dataset.place, getComputedStyle(e).outlineStyle];
}"""


@pytest.mark.parametrize("width", [PHONE, SMALL])
def test_everything_can_be_reached_by_keyboard(width, site, browser):
    "The first stop is the way to the text; Tab reaches every link, button, fold and wide table."
    page = browser.page
    browser.resize(width)
    page.goto((site / "exercises/tasks.html").as_uri())
    page.keyboard.press("Tab")
    assert page.locator(":focus").inner_text() == "Skip to the text"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("!!document.activeElement.closest('main')")
    page.reload()
    expected = set(page.evaluate(REACHABLE))
    assert len(expected) > 30 and (width == SMALL or page.locator(".table-box[tabindex]").count())
    seen, outlines = set(), set()
    for _ in range(len(expected) + 10):
        page.keyboard.press("Tab")
        place, outline = page.evaluate(FOCUSED)
        if place is not None:
            seen.add(int(place))
            outlines.add(outline)
    assert seen == expected
    assert "none" not in outlines, "the place of the keyboard is visible"


def test_navigation_folds_on_a_phone(site, browser):
    page = browser.page
    page.goto((site / f"{CHAPTER}.html").as_uri())
    link = page.get_by_role("navigation", name="Course").get_by_text("05 Leakage")
    assert link.is_visible() and not page.locator(".side > summary").is_visible()
    browser.resize(PHONE)
    page.reload()
    assert not link.is_visible()
    page.locator(".side > summary").press("Enter")
    assert link.is_visible()
    browser.resize(SMALL)
    page.wait_for_function("document.querySelector('.side').open")
    assert link.is_visible()


BOXES = "e => { const b = e.getBoundingClientRect(); return [b.left, b.right, b.top, b.bottom]; }"


def test_wrong_and_right_stand_side_by_side_where_there_is_room(site, browser):
    page = browser.page
    page.goto((site / f"{CHAPTER}.html").as_uri())

    def boxes():
        names = ("wrong", "right", "check")
        return [page.locator(f"[id='{n}-image-level-leakage']").evaluate(BOXES) for n in names]

    browser.resize(WIDE)
    wrong, right, check = boxes()
    assert wrong[1] < right[0] and abs(wrong[2] - right[2]) < 3, "side by side"
    assert check[2] > max(wrong[3], right[3]), "the check below"
    for place in boxes():
        assert place[1] - place[0] > 600
    for width in (SMALL, PHONE):
        browser.resize(width)
        wrong, right, check = boxes()
        assert wrong[3] < right[2] and right[3] < check[2], "one after the other"
    labels = [page.get_by_role("group", name=n) for n in ("Wrong way", "Right way", "Check")]
    assert all(label.count() == 2 for label in labels)
    word = "e => getComputedStyle(e, '::before').content"
    said = [label.first.evaluate(word) for label in labels]
    assert [re.sub(r"[^A-Za-z ]", "", text).strip() for text in said] == [
        "Wrong way",
        "Right way",
        "Check",
    ]


COVERED = """() => [...document.querySelectorAll('.highlight')].flatMap((block) => {
    const button = block.querySelector('.copy').getBoundingClientRect();
    const range = document.createRange();
    range.selectNodeContents(block.querySelector('pre'));
    return [...range.getClientRects()].filter((box) => box.width > 1
        && box.right > button.left + 1 && box.left < button.right
        && box.bottom > button.top + 1 && box.top < button.bottom - 1);
}).length"""


def test_the_copy_button_covers_no_code_and_copies_it(site, browser):
    page = browser.page
    page.goto((site / f"{CHAPTER}.html").as_uri())
    for width in (PHONE, SMALL, WIDE):
        browser.resize(width)
        assert page.locator(".copy").count() > 20 and page.evaluate(COVERED) == 0, width
    kept = "navigator.clipboard.writeText = async (text) => { window.copied = text; }"
    page.evaluate(kept)
    cell = page.locator("#split_by_patient")
    cell.get_by_role("button", name="Copy code").click()
    page.wait_for_function("window.copied")
    copied = page.evaluate("window.copied")
    assert (
        copied.startswith("def split_by_patient(\n")
        and copied == cell.locator("pre").inner_text().rstrip()
    )
    assert "Copied" in cell.get_by_role("button", name="Copy code").inner_text()


def test_the_columns_for_code_and_prose(site, browser):
    "A hundred columns of code fit on a wide screen; a line of prose has about 75 characters."
    page = browser.page
    page.goto((site / f"{CHAPTER}.html").as_uri())
    browser.resize(1600)
    columns = page.locator("#split_by_patient pre").evaluate("""e => {
        const style = getComputedStyle(e), pen = document.createElement('canvas').getContext('2d');
        pen.font = `${style.fontSize} ${style.fontFamily}`;
        return e.clientWidth / pen.measureText('x'.repeat(100)).width * 100;
    }""")
    assert columns >= 100
    letters = (
        page.locator("article .markdown > p")
        .nth(1)
        .evaluate("""e => {
        const style = getComputedStyle(e);
        return e.textContent.length / (e.clientHeight / parseFloat(style.lineHeight));
    }""")
    )
    assert 55 < letters < 85


def test_a_wide_table_keeps_its_first_column(site, browser):
    page = browser.page
    browser.resize(PHONE)
    page.goto((site / "dev/faults.html").as_uri())
    page.locator(".table-box:not([tabindex])").first.wait_for()  # it was found not to scroll
    box = page.locator(".table-box[tabindex]").first
    box.focus()
    for _ in range(10):
        page.keyboard.press("ArrowRight")
    page.wait_for_function("document.activeElement.scrollLeft > 50")
    left = box.evaluate(BOXES)[0]
    first = box.locator("tbody tr").first.locator(":scope > :first-child").evaluate(BOXES)
    assert abs(first[0] - left) < 3 and first[1] < PHONE


def test_a_page_reads_without_javascript(site, chromium):
    context = chromium.new_context(
        java_script_enabled=False, viewport={"width": PHONE, "height": 844}
    )
    page = context.new_page()
    page.goto((site / f"{CHAPTER}.html").as_uri())
    assert page.get_by_role("heading", name="Splitting by patient").is_visible()
    assert page.get_by_role("link", name="05 Leakage").first.is_visible()
    assert not page.get_by_role("searchbox").count() and not page.get_by_role("button").count()
    context.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_quizzes_and_explorers_live_on_the_pages(theme, site, watched):
    page = watched(color_scheme=theme).page
    page.goto((site / "course/10_metrics.html").as_uri())
    assert page.locator(".cxr-explorer .frame").count() == 1
    question = page.locator(".cxr-quiz fieldset").first
    question.get_by_role("radio").first.check()
    question.get_by_role("button").first.click()
    assert question.locator(".cxr-verdict").first.is_visible()
    slider = page.locator(".cxr-explorer input[type=range]").first
    before = page.locator(".cxr-explorer .says").inner_text()
    slider.press("End")
    assert page.locator(".cxr-explorer .says").inner_text() != before
    assert axe_problems(page, "color-contrast") == []
