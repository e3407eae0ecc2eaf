"""What several tests need: the chapters, executed once, and the places of data."""

import ast
import json
import os
import re
from functools import cache
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:  # before PyTorch is imported
    # One core for each process of the tests: threads of two would wait for each other's cores.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import nbformat
import pytest
from browser import _lab, chromium, jupyterlab, open_page  # noqa: F401 (fixtures)

from cxr_tutorial.dev.runner import ChapterError, execute, list_chapters, notebook_folder

ROOT = Path(__file__).resolve().parents[1]
NBS = notebook_folder(ROOT / "nbs")
NOTEBOOKS = [c.relative_to(NBS).with_suffix("").as_posix() for c in list_chapters(NBS)]


def real_data() -> Path | None:
    "The folder of real X-rays, if this machine has it."
    folder = Path(os.environ.get("CXR_REAL_DATA") or ROOT.parent / "shared" / "kermany224")
    return folder if folder.is_dir() else None


def quiz_text(source: str) -> str | None:
    "The questions in a cell that does nothing but call `quiz` with a text."
    if not re.search(r"^#\|\s*label:\s*quiz$", source, re.M):
        return None
    match ast.parse(source).body:
        case [ast.Expr(ast.Call(ast.Name("quiz"), [ast.Constant(str() as text)], []))]:
            return text
    raise AssertionError("a cell with the label quiz holds one call, quiz(text)")


needs_real_data = pytest.mark.skipif(
    real_data() is None, reason="no real X-rays here: set CXR_REAL_DATA to the public pneumonia set"
)


LABEL = re.compile(r"^#\|\s*label:\s*(wrong|right|check)-([a-z0-9-]+)", re.M)
SABOTAGE = """
import random as _random, numpy as _numpy, torch as _torch
_kept = wrong, right, _random.getstate(), _numpy.random.get_state(), _torch.get_rng_state()
for _name, _cell in {pairs!r}.items():
    wrong, right = _kept[:2]
    exec(compile(_cell, _name, "exec"), globals())
    try:
        exec({check!r}, globals())
    except AssertionError:
        print(_name + ": the check failed")
    except Exception as _error:
        print(_name + ": " + repr(_error))
    else:
        print(_name + ": the check passed")
wrong, right = _kept[:2]
_random.setstate(_kept[2]), _numpy.random.set_state(_kept[3]), _torch.set_rng_state(_kept[4])
"""

SAY_MESSAGES = """
import ast as _ast

class _SayMessages(_ast.NodeTransformer):
    def visit_Assert(self, node):
        return [_ast.Expr(node.msg), node] if node.msg else node

get_ipython().ast_transformers.append(_SayMessages())
"""  # the message of an assertion is made even where the assertion holds: it must not fail itself


def swapped(source: str, old: str, new: str) -> str:
    "The code of one way, filling the variable of the other."
    return re.sub(rf"\b{old}\b", new, re.sub(r"^#\|.*\n", "", source, flags=re.M))


def sabotage(wrong: str, right: str, check: str) -> nbformat.NotebookNode:
    """A cell that takes the effect away in two ways and says what the check made of it.

    The other way's result is still there from its own cell. It leaves everything as it was."""
    pairs = {
        "right code in both": swapped(right, "right", "wrong"),
        "wrong code in both": swapped(wrong, "wrong", "right"),
    }
    return nbformat.v4.new_code_cell(SABOTAGE.format(pairs=pairs, check=check))


@cache
def executed(name: str) -> tuple[nbformat.NotebookNode, ChapterError | None, dict[str, str]]:
    """A notebook after a run in a fresh kernel, the error that stopped it, and what each check said
    when the effect was taken away. Runs once."""
    notebook = nbformat.read(NBS / f"{name}.ipynb", 4)
    added = {"": nbformat.v4.new_code_cell(SAY_MESSAGES)}
    cells = [added[""]]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        cells.append(cell)
        label = LABEL.search(cell.source) if cell.cell_type == "code" else None
        if label and label[1] == "check":
            added[label[2]] = sabotage(*(c.source for c in cells[-3:]))
            cells.append(added[label[2]])
    notebook.cells, error = cells, None
    try:
        execute(notebook, (NBS / name).parent, name, threads=1)
    except ChapterError as stopped:
        error = stopped
    notebook.cells = [c for c in notebook.cells if c.id not in {a.id for a in added.values()}]
    del added[""]
    said = {
        slug: "".join(o.get("text", "") for o in c.outputs if o.get("name") == "stdout")
        for slug, c in added.items()
    }
    return notebook, error, said


@pytest.fixture
def chapter(name, own_cache):
    "The notebook that a test looks at, after its run. All tests of one notebook share the run."
    return executed(name)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    "Tests start with an empty cache, as a reader does. All processes of a run share it."
    folder = tmp_path_factory.getbasetemp()
    folder = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "own_cache"
    folder.mkdir(exist_ok=True)
    before = os.environ.get("CXR_CACHE")
    os.environ["CXR_CACHE"] = str(folder)
    os.environ.pop("CXR_DATA", None)
    yield folder
    os.environ.pop("CXR_CACHE") if before is None else os.environ.update(CXR_CACHE=before)


FAULTS = NBS / "dev" / "faults.json"  # what the page `dev/faults` shows


def pytest_addoption(parser):
    parser.addoption("--write-faults", action="store_true", help="write the table of faults anew")
    parser.addoption("--slow", action="store_true", help="only the slow tests, such as kills")


def pytest_configure(config):
    config.fault_rows = {}
    if config.getoption("--write-faults") and hasattr(config, "workerinput"):
        raise pytest.UsageError("--write-faults needs all rows in one process: leave out -n")
    text = "fault(goes_in, entrance): a row of the table of faults; the test calls `saw`"
    config.addinivalue_line("markers", text)
    config.addinivalue_line("markers", "slow: runs only with --slow (`make faults`)")


def fault_key(item) -> str:
    "The name of the row that a test marked `fault` writes."
    mark = item.get_closest_marker("fault")
    goes_in = mark.args[0]
    for name, value in getattr(getattr(item, "callspec", None), "params", {}).items():
        goes_in = goes_in.replace(f"{{{name}}}", str(value))
    return f"{mark.kwargs['entrance']}: {goes_in}"


def _shared(item) -> str | None:
    "What a test shares with others, which then run in one process: a notebook, or its module's."
    if "chapter" in item.fixturenames:
        return item.callspec.params["name"]
    made = item._fixtureinfo.name2fixturedefs.values()
    costly = any(each[-1].scope == "module" for each in made)
    if item.get_closest_marker("slow"):  # slower than what they share
        costly = False
    return item.path.name if costly or "chromium" in item.fixturenames else None


def _place(item) -> tuple:
    """Where a test stands in the order of the run: notebooks first, because they take longest.

    The browser's tests come last: Playwright keeps an event loop in this thread."""
    return "chromium" in item.fixturenames, "chapter" not in item.fixturenames


def pytest_itemcollected(item):
    "Several processes share the tests of a run; those of one group stay together."
    if shared := _shared(item):
        item.add_marker(pytest.mark.xdist_group(shared))


@pytest.hookimpl(tryfirst=True)  # before -k chooses
def pytest_collection_modifyitems(config, items):
    "Slow tests are for `make faults`."
    config.test_files = {item.path.name for item in items}
    keys = [fault_key(item) for item in items if item.get_closest_marker("fault")]
    assert len(keys) == len(set(keys)), "two tests write the same row of the table of faults"
    config.fault_keys = set(keys)
    slow = config.getoption("--slow")
    chosen = [item for item in items if bool(item.get_closest_marker("slow")) == slow]
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = sorted(chosen, key=_place)


@pytest.fixture
def saw(request, tmp_path):
    """Call it once at the end of a test marked `fault`, with what came out: an exception, or text;
    with the message if it is not the exception's; and with what is left behind.

    The row must be the one that the documentation shows (`pytest --write-faults` writes it).
    """
    key = fault_key(request.node)
    rows, own = request.config.fault_rows, []

    def note(comes_out, message: str | None = None, left: str = "nothing"):
        if message is None:
            message = str(comes_out) if isinstance(comes_out, BaseException) else ""
        if isinstance(comes_out, BaseException):
            comes_out = f"refused ({type(comes_out).__name__})"
        message = re.sub(re.escape(str(tmp_path)) + "/?", "", message).strip()
        row = {"comes out": comes_out, "message": message, "left behind": left}
        assert key not in rows, f"two rows say {key!r}"
        rows[key] = row
        own.append(key)
        if not request.config.getoption("--write-faults"):
            shown = json.loads(FAULTS.read_text())
            assert shown.get(key) == row, "not what the documentation shows: --write-faults"

    yield note
    assert own, "a fault test calls `saw`"


def pytest_sessionfinish(session, exitstatus):
    "With --write-faults: rows of tests that ran replace those of the same name."
    config = session.config
    if config.getoption("--write-faults") and exitstatus == 0:
        kept = json.loads(FAULTS.read_text()) if FAULTS.exists() else {}
        text = json.dumps(dict(sorted({**kept, **config.fault_rows}.items())), indent=1)
        FAULTS.write_text(text + "\n")
