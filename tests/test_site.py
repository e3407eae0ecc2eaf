"""The website: nbdev's half, with a stand-in for Quarto; all of it where Quarto is installed."""

import importlib
import inspect
import os
import re
import shutil
import stat
from functools import cache
from pathlib import Path

import nbformat
import pytest
import yaml
from conftest import NBS, NOTEBOOKS, ROOT

from cxr_tutorial._modidx import d as names_of_the_library
from cxr_tutorial.dev.links import page_links
from cxr_tutorial.dev.site import build_site, quarto_id
from cxr_tutorial.lab.assets import cell_options

QUARTO = """#!/bin/sh
[ "$1" = render ] && mkdir -p _docs && echo "rendered" > _docs/index.html
exit 0
"""
LINK = re.compile(r"""(?:\]\(|href=["'])([\w/.-]*\.(?:ipynb|html))?(?:#([^)"'\s]+))?[)"']""")
# The options that _quarto.yml may use: all are documented at quarto.org (project, website, HTML).
DOCUMENTED = {
    "project": "type resources",
    "website": """favicon image image-alt open-graph twitter-card repo-subdir repo-actions search
        page-navigation back-to-top-navigation bread-crumbs reader-mode navbar page-footer""",
    "navbar": "left right",
    "page-footer": "left center right",
    "item": "href text",
    "html": """theme respect-user-color-scheme css grid toc code-copy code-overflow
        html-math-method""",
    "theme": "light dark",
    "grid": "sidebar-width body-width margin-width",
    "execute": "enabled",
    "": "project website lang format execute",
}


def copy_of_the_repository(place: Path) -> Path:
    "What `make site` reads."
    unwanted = shutil.ignore_patterns(".ipynb_checkpoints", "__pycache__", "nbdev.yml")
    for name in ("nbs", "cxr_tutorial"):
        shutil.copytree(ROOT / name, place / name, ignore=unwanted)
    for name in ("settings.ini", "_quarto.yml", "README.md", "LICENSE", "CITATION.cff"):
        shutil.copy2(ROOT / name, place / name)
    return place


def contents(place: Path) -> dict[str, bytes]:
    "Every file but those that a build may write."
    files = [f for f in place.rglob("*") if f.is_file()]
    names = {f.relative_to(place).as_posix(): f for f in files}
    return {n: f.read_bytes() for n, f in names.items() if not n.startswith(("_build", "_docs"))}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    "A copy of the repository after `build_site`, where data would have been found if asked for."
    place = copy_of_the_repository(tmp_path_factory.mktemp("site") / "repository")
    before, tools = contents(place), place.parent / "bin"
    tools.mkdir()
    (tools / "quarto").write_text(QUARTO)
    (tools / "quarto").chmod((tools / "quarto").stat().st_mode | stat.S_IEXEC)
    os.utime(place / "nbs" / "index.ipynb")  # younger than README.md, as in a fresh clone
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
        patch.setenv("CXR_DATA", str(place.parent / "asked for"))
        patch.setenv("CXR_CACHE", str(place.parent / "cache"))
        docs = build_site(place)
    return place, before, docs


@cache
def read(file: Path) -> nbformat.NotebookNode:
    return nbformat.read(file, 4)


def stored(name: str) -> nbformat.NotebookNode:
    return read(NBS / f"{name}.ipynb")


def proc(built) -> Path:
    return built[0] / "_build" / "site" / "_proc"


def page(built, name: str) -> nbformat.NotebookNode:
    return read(proc(built) / f"{name}.ipynb")


def settings_of(notebook: nbformat.NotebookNode) -> dict:
    "The front matter of a page."
    assert notebook.cells[0].cell_type == "raw"
    return yaml.safe_load(notebook.cells[0].source.strip().strip("-"))


def prose(notebook: nbformat.NotebookNode) -> str:
    return "\n".join(c.source for c in notebook.cells if c.cell_type in ("markdown", "raw"))


def shown(notebook: nbformat.NotebookNode) -> str:
    "Prose, and what cells have shown as Markdown (with HTML in it)."
    texts = [prose(notebook)]
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            texts.append(output.get("data", {}).get("text/markdown", ""))
    return "\n".join(texts)


def letters(text: str) -> str:
    "Only letters and digits: links, emphasis and line breaks may differ."
    text = re.sub(r"\]\([^)]*\)", "", text)
    return re.sub(r"[^\w]|_", "", text)


def headings(notebook: nbformat.NotebookNode) -> list[str]:
    text = re.sub(r"^```.*?^```", "", shown(notebook), flags=re.M | re.S)
    found = re.findall(r"^#+ (.+?)(?: \{#([\w.-]+)\})?$", text, re.M)
    return [given or quarto_id(title) for title, given in found]


def ids_of(notebook: nbformat.NotebookNode) -> set[str]:
    "What a link can lead to: headings, labels of cells, and ids in HTML."
    found = {quarto_id(settings_of(notebook)["title"]), *headings(notebook)}
    found.update(re.findall(r"""\bid=["']([^"']+)""", shown(notebook)))
    for cell in notebook.cells:
        if cell.cell_type == "code":
            found.add(cell_options(cell.source).get("label", ""))
    return found


@pytest.fixture(scope="module")
def addresses(built) -> dict[str, str]:
    "The notebook of each address: as Quarto gives it, and as notebooks link it."
    found = {}
    for name in NOTEBOOKS:
        folder = Path(name).parent
        found[f"{name}.ipynb"] = name
        html = (folder / settings_of(page(built, name))["output-file"]).as_posix()
        assert html not in found, f"{name} and {found[html]} would be one page"
        found[html] = name
    return found


def test_it_is_built_and_no_other_file_changed(built):
    place, before, docs = built
    assert (docs / "index.html").read_text() == "rendered\n"
    assert contents(place) == before
    assert not (place.parent / "cache").exists(), "data were made or read"
    settings = (proc(built) / "_quarto.yml").read_text()
    assert "nbdev.yml" in settings and "output-dir: _docs" in (
        (proc(built) / "nbdev.yml").read_text()
    )


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_no_sentence_is_lost(name, built):
    there = letters(prose(page(built, name)))
    for cell in stored(name).cells:
        if cell.cell_type == "markdown":
            for sentence in re.split(r"(?<=[.!?])\s+|\n\n|\n[>#|*-]", cell.source):
                assert letters(sentence) in there, sentence


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_nothing_is_executed(name, built):
    "Cells and outputs are the committed ones, and no other."
    kept = {c.id: c for c in stored(name).cells}
    for cell in page(built, name).cells:
        if cell.cell_type == "code":
            assert cell.id in kept, f"not a cell of the notebook: {cell.source[:80]}"
            assert len(cell.outputs) == len(kept[cell.id].outputs)
            for output, before in zip(cell.outputs, kept[cell.id].outputs, strict=True):
                assert output.get("text") == before.get("text")
                images = [m for m in before.get("data", {}) if m.startswith("image/")]
                assert all(output.data[m] == before.data[m] for m in images)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_exported_code_can_be_read(name, built):
    source = "\n".join(c.source for c in page(built, name).cells if c.cell_type == "code")
    for cell in stored(name).cells:
        if cell.cell_type == "code" and "export" in cell_options(cell.source):
            code = re.sub(r"^#\|.*\n", "", cell.source, flags=re.M).strip()
            assert code in source, f"not shown: {code[:80]}"


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_links_land(name, built, addresses):
    "On a heading, a cell or a definition, of this page or another one."
    for target, anchor in LINK.findall(shown(page(built, name))):
        place = os.path.normpath(Path(name).parent / target) if target else f"{name}.ipynb"
        assert place in addresses, f"no such page: {target}"
        there = page(built, addresses[place])
        assert not anchor or anchor in ids_of(there), f"{target}#{anchor}"


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_files_that_are_linked_are_there(name, built):
    for target in re.findall(r"\]\(([\w./-]+)\)", prose(page(built, name))):
        if not target.endswith((".ipynb", ".html")):
            file = os.path.normpath(proc(built) / Path(name).parent / target)
            assert Path(file).is_file() and proc(built) in Path(file).parents, target


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_headings_have_ids_of_their_own(name, built):
    "Quarto numbers the second of two equal headings, and a link would lead to the first."
    definitions = set()
    for cell in page(built, name).cells:
        if cell.get("id", "").startswith("about-"):
            found = re.findall(r"^#+ ([\w.]+)(?: \{#(.+)\})?$", cell.source, re.M)
            definitions.update(given or quarto_id(title) for title, given in found)
    labels = [cell_options(c.source).get("label") for c in page(built, name).cells]
    all_ids = [*headings(page(built, name)), *labels]
    twice = [one for one in definitions if all_ids.count(one) != 1]
    twice += [one for one in filter(None, labels) if all_ids.count(one) != 1]
    assert not twice, twice


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_nothing_is_loaded_from_another_host(name, built):
    """Quarto adds two scripts of another host to a page with an output of the type HTML, which it
    takes for a widget; and no output names a host itself."""
    text = shown(page(built, name))
    for cell in page(built, name).cells:
        for output in cell.get("outputs", []):
            assert not {"text/html", "application/javascript"} & set(output.get("data", {}))
            assert not [m for m in output.get("data", {}) if "jupyter.widget" in m]
    assert not re.findall(r"""(?:\bsrc=["']|url\(["']?|@import\s+["'])\s*(?:https?:)?//\S+""", text)
    assert "widgets" not in page(built, name).metadata


def test_html_of_outputs_is_handed_over(built):
    tables = 0
    for name in NOTEBOOKS:
        there = shown(page(built, name))
        for cell in stored(name).cells:
            for output in cell.get("outputs", []):
                html = output.get("data", {}).get("text/html", "")
                if html and "href=" not in html and "#| hide" not in cell.source:
                    assert f"{{=html}}\n{html}\n```" in there, f"{name}: {html[:200]}"
                    tables += 1
    assert tables > 150


def public_names() -> list[tuple[str, str, str]]:
    "Module, name, and the address that nbdev gives it."
    found = []
    for module, names in names_of_the_library["syms"].items():
        for whole, (address, _) in names.items():
            name = whole.removeprefix(f"{module}.")
            if not any(part.startswith("_") for part in name.split(".")):
                found.append((module, name, address))
    return found


def definition(built, addresses, name: str, address: str) -> str:
    "The text that documents a name."
    notebook = page(built, addresses[address.partition("#")[0]])
    texts = [c.source for c in notebook.cells if c.get("id", "").startswith("about-")]
    sections = re.split(r"^(?=#{3,4} )", "\n\n".join(texts), flags=re.M)
    own = [
        text
        for text in sections
        if re.match(rf"#+ {re.escape(name)}(?: {{#class-\w+}})?$", text, re.M)
    ]
    assert len(own) == 1, f"{name} is documented {len(own)} times"
    return own[0]


def test_definitions_are_documented_as_written(built, addresses):
    "What Python itself says of a signature, and the page: the same parameters in the same order."
    seen = 0
    for module, name, address in public_names():
        loaded = importlib.import_module(module)
        if name not in loaded.__all__:  # a method, or nothing for others to use
            continue
        thing = getattr(loaded, name)
        if not inspect.isclass(thing) and not inspect.isfunction(inspect.unwrap(thing)):
            continue  # a command
        text = definition(built, addresses, name, address)
        said = inspect.getdoc(thing) or ""
        assert letters(said.split("\n\n")[0]) in letters(text), name
        assert ("`` class " in text) == inspect.isclass(thing)
        listed = re.findall(r"^\| `` \**(\w+) ``", text, re.M)
        own = inspect.isfunction(thing) or "__init__" in vars(thing)
        fields = getattr(thing, "__dataclass_fields__", {})
        if own and inspect.isfunction(thing):
            expected = list(inspect.signature(thing).parameters)
            assert listed == expected, f"{module}.{name}: {listed}"
        elif fields:
            assert listed == list(fields), f"{module}.{name}: {listed}"
        seen += 1
    assert seen > 250


def test_methods_and_defaults(built, addresses):
    places = {name: address for _, name, address in public_names()}
    folds = definition(built, addresses, "PatientKFold", places["PatientKFold"])
    assert "`` class PatientKFold(BaseCrossValidator) ``" in folds
    assert "| `` n_splits `` | `` int `` | `` 5 `` | how many folds, at least 2 |" in folds
    split = definition(built, addresses, "PatientKFold.split", places["PatientKFold.split"])
    assert split.startswith("#### PatientKFold.split\n") and "Row numbers (train, test)" in split
    chosen = definition(built, addresses, "CohortSettings", places["CohortSettings"])
    assert "| `` severity `` | `` tuple `` | `` (0.4, 1.0) `` | Lowest and highest" in chosen
    assert '`` {"train": 0.7, "val": 0.1, "test": 0.2} ``' in chosen
    everything = "\n".join(prose(page(built, name)) for name in NOTEBOOKS)
    assert "<factory>" not in everything and "PosixPath" not in everything


def test_source_links_point_to_the_line(built):
    links = 0
    for name in NOTEBOOKS:
        for cell in page(built, name).cells:
            found = re.findall(
                r"^#+ ([\w.]+).*\n\n\[source\]\(\S+/(cxr_tutorial/\S+\.py)#L(\d+)\)",
                cell.source,
                re.M,
            )
            for whole, file, line in found:
                text = (ROOT / file).read_text().splitlines()[int(line) - 1]
                own = whole.rpartition(".")[2]
                assert re.match(rf"\s*(async )?(def|class) {own}\b", text), f"{whole}: {text}"
            links += len(found)
    assert links > 300


def test_names_in_backticks_are_links(built):
    linked = [n for n in NOTEBOOKS if re.search(r"\[`\w+`\]\(\S+\.html#", prose(page(built, n)))]
    assert len(linked) > 40
    assert "[`split_by_patient`](splits.html#split_by_patient)" in prose(
        page(built, "course/04_splits")
    )
    address = yaml.safe_load((proc(built) / "nbdev.yml").read_text())["website"]["site-url"]
    for name in NOTEBOOKS:
        assert not re.findall(rf"\]\({address}\S+\.html", prose(page(built, name)))


def test_a_page_can_be_opened_elsewhere(built):
    docs = built[2]
    for name in NOTEBOOKS:
        under = next(c.source for c in page(built, name).cells if c.id == "links-of-the-page")
        alone = name.startswith(("course/", "exercises/"))
        for said, link in page_links(name).items():
            if said.startswith("Open"):
                assert (f"[{said}]({link})" in under) == alone
        assert f"/notebooks/{name}.ipynb){{download=" in under
        there = (docs / "notebooks" / f"{name}.ipynb").read_bytes()
        assert there == (NBS / f"{name}.ipynb").read_bytes()


def entries(contents: list) -> list[dict]:
    "The pages of a sidebar, in order."
    found = []
    for entry in contents:
        found += entries(entry["contents"]) if "section" in entry else [entry]
    return found


def test_the_sidebar_holds_every_page_once_with_its_title(built):
    said = yaml.safe_load((proc(built) / "sidebar.yml").read_text())["website"]["sidebar"]
    sections = [entry["section"] for entry in said["contents"] if "section" in entry]
    assert sections[:5] == ["Data", "Models", "Evaluation", "Trust", "Exercises"]
    assert "Reference" in sections and "More" not in sections
    pages = entries(said["contents"])
    assert sorted(p["href"] for p in pages) == sorted(f"{name}.ipynb" for name in NOTEBOOKS)
    for one in pages:
        name = one["href"].removesuffix(".ipynb")
        title = stored(name).cells[0].source.splitlines()[0].removeprefix("# ")
        number = re.match(r"(?:course|exercises)/(\d+)_", name)
        expected = f"{number[1]} {title}" if number else title
        assert one["text"] == ("Home" if name == "index" else expected)
    listed = (NBS / "sidebar.yml").read_text()
    assert all(listed.count(f"- {name}.ipynb\n") == 1 for name in NOTEBOOKS)


def test_quarto_finds_what_the_configuration_names(built):
    text = (ROOT / "_quarto.yml").read_text()
    said = yaml.safe_load(text)
    website, html = said["website"], said["format"]["html"]
    parts = {"": said, "project": said["project"], "website": website, "html": html}
    parts |= {"navbar": website["navbar"], "page-footer": website["page-footer"]}
    parts |= {"theme": html["theme"], "grid": html["grid"], "execute": said["execute"]}
    for part, options in parts.items():
        unknown = set(options) - set(DOCUMENTED[part].split())
        assert not unknown, f"{part}: {unknown} is no option in the list of documented ones"
    items = [*website["navbar"]["left"], *website["page-footer"]["left"]]
    assert all(set(item) <= set(DOCUMENTED["item"].split()) for item in items)
    files = [item["href"] for item in items] + said["project"]["resources"]
    files += [website["favicon"], website["image"], html["css"], "404.qmd"]
    for theme in html["theme"].values():
        assert theme[0] == "default"  # the one that asks for no web font
        files += theme[1:]
    for file in files:
        assert (proc(built) / file).exists(), f"the site has no {file}"
    assert html["html-math-method"] == "mathml" and website["image-alt"]
    for file in ("_quarto.yml", "nbs/styles.css", "nbs/dev/site.scss", "nbs/dev/dark.scss"):
        loaded = re.sub(r"^\s*(?:#|//).*", "", (ROOT / file).read_text(), flags=re.M)
        assert "//" not in loaded, f"{file} names another host"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("quarto") is None, reason="Quarto is not installed")
def test_quarto_makes_a_page_of_each_notebook(tmp_path):
    docs = build_site(copy_of_the_repository(tmp_path / "repository"))
    pages = [f for f in docs.rglob("*.html") if "site_libs" not in f.parts]
    assert len(pages) >= len(NOTEBOOKS) and (docs / "404.html").is_file()
    loads = r"""<(?:script|img|iframe|source)\b[^>]*\bsrc=["'](?:https?:)?//[^"']*"""
    loads += r"""|<link\b[^>]*rel=["']stylesheet["'][^>]*href=["'](?:https?:)?//[^"']*"""
    for file in pages:
        assert not re.findall(loads, file.read_text()), f"{file.name} loads from another host"
    for file in docs.rglob("*.css"):
        assert not re.findall(r"@import[^;]*//", file.read_text()), file.name
