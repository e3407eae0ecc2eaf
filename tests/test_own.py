"""The library in somebody's own notebook: help where it is looked for."""

import importlib
import inspect
import multiprocessing
import pickle
import pkgutil
import pydoc
import re
import subprocess
import sys
from inspect import isclass, isfunction, unwrap

import pytest
from conftest import ROOT
from joblib import Parallel, delayed
from jupyter_client.manager import start_new_kernel

import cxr_tutorial
from cxr_tutorial.splits import draw_lots

MODULES = [
    found.name
    for found in pkgutil.walk_packages(cxr_tutorial.__path__, "cxr_tutorial.")
    if not found.ispkg and not found.name.endswith("_modidx")
]


def own(name: str) -> dict:
    "Public functions and classes that a module defines."
    module = importlib.import_module(name)
    things = {n: v for n, v in vars(module).items() if not n.startswith("_")}
    return {
        n: v
        for n, v in things.items()
        if getattr(v, "__module__", "") == name and (isclass(v) or isfunction(unwrap(v)))
    }


def own_parameters(thing) -> list[str]:
    "Parameters that this package names, not those that a class inherits."
    if isclass(thing) and not {"__init__", "_fields"} & set(vars(thing)):
        return []
    names = inspect.signature(thing).parameters
    return [name for name in names if name not in ("self", "cls")]


@pytest.mark.parametrize("name", MODULES)
def test_help_names_each_parameter(name):
    "And the comment behind it: what stands after `#` in the source, stands in the help."
    for thing in own(name).values():
        text = pydoc.render_doc(thing, renderer=pydoc.plaintext)
        for parameter in own_parameters(thing):
            assert re.search(rf"^[ |]*{parameter}( : .+)?$", text, re.M), f"{thing}: {parameter}"


@pytest.mark.parametrize("name", MODULES)
def test_help_has_all_comments_of_the_headers(name):
    source = inspect.getsource(importlib.import_module(name))
    said = " ".join(" ".join((thing.__doc__ or "").split()) for thing in own(name).values())
    for head in re.findall(r"^def [a-z]\w*\(\n(.*?)^\)", source, re.M | re.S):
        for comment in re.findall(r"^    \w+.*?,  # (.+)$", head, re.M):
            assert " ".join(comment.split()) in said, comment


@pytest.mark.parametrize("name", [name for name in MODULES if ".dev." not in name])
def test_columns_are_named_wherever_a_cohort_goes_in(name):
    columns = r"path|patient_id|label|split|group_id|column"
    for thing in own(name).values():
        for parameter in {"cohort", "predictions"} & set(own_parameters(thing)):
            said = re.search(rf"^{parameter}( : .*)?\n    (.*)", inspect.getdoc(thing), re.M)
            assert said and re.search(columns, said[2]), f"{thing.__name__}: {parameter}"


def test_columns_come_from_the_check_itself():
    text = inspect.getdoc(cxr_tutorial.splits.split_table)
    assert "cohort : pd.DataFrame" in text
    assert all(column in text for column in ("split", "label", "patient_id"))


HEAVY = "print({'numpy', 'pandas', 'torch'} & set(sys.modules))"


def python(code: str) -> str:
    command = [sys.executable, "-c", f"import sys, cxr_tutorial\n{code}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_comment_is_written_once():
    "Loading a module again, as autoreload does, leaves its docstrings as they are."
    said = python("""
import importlib
before = cxr_tutorial.splits.split_by_patient.__doc__
print(importlib.reload(cxr_tutorial.splits).split_by_patient.__doc__ == before)
finders = len(sys.meta_path)
importlib.reload(cxr_tutorial)
print(len(sys.meta_path) == finders, before.count("Returns"))
""")
    assert said.split() == ["True", "True", "1"]


def test_modules_load_when_they_are_named():
    said = python(
        f"print(dir(cxr_tutorial))\n{HEAVY}\nprint(cxr_tutorial.files.atomic.atomic_path)"
    )
    names, loaded, function = said.splitlines()
    assert {"splits", "phantom", "training", "__version__"} <= set(eval(names))
    assert loaded == "set()" and "function atomic_path" in function


def test_an_unknown_module_is_an_attribute_error():
    with pytest.raises(
        AttributeError, match=r"cxr_tutorial has no split; its modules are .*splits"
    ):
        cxr_tutorial.split  # noqa: B018
    assert not hasattr(cxr_tutorial, "__wrapped__")


def test_without_source_a_module_loads_all_the_same(tmp_path):
    "Only compiled files: no comments, no parameters, no error."
    code = f"""
import compileall, pathlib, shutil
place = pathlib.Path({str(tmp_path)!r}, "cxr_tutorial")
shutil.copytree({str(ROOT / "cxr_tutorial")!r}, place, ignore=shutil.ignore_patterns("__pycache__"))
compileall.compile_dir(place, quiet=1, legacy=True)
[file.unlink() for file in place.rglob("*.py")]
for name in [name for name in sys.modules if name.startswith("cxr_tutorial")]:
    del sys.modules[name]
sys.path.insert(0, {str(tmp_path)!r})
from cxr_tutorial.files import atomic
print(atomic.__file__, atomic.atomic_path.__doc__)
"""
    said = python(code)
    assert "atomic.pyc" in said and "Parameters" not in said


def test_functions_go_to_other_processes():
    lots = draw_lots(["a", "b"])
    assert pickle.loads(pickle.dumps(draw_lots)) is draw_lots
    assert Parallel(n_jobs=2)([delayed(draw_lots)(["a", "b"])])[0].equals(lots)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(draw_lots, (["a", "b"],)).equals(lots)


@pytest.fixture(scope="module")
def kernel():
    "A kernel in which the package is imported, and nothing else."
    manager, client = start_new_kernel(cwd=str(ROOT))
    client.execute_interactive("import sys, cxr_tutorial", timeout=60)
    yield client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def ask(client, request: int) -> dict:
    "The answer to a request."
    while True:
        reply = client.get_shell_msg(timeout=60)
        if reply["parent_header"].get("msg_id") == request:
            return reply["content"]


def shown(client, code: str) -> str:
    "What Shift+Tab shows, without colours."
    reply = ask(client, client.inspect(code, len(code)))
    return re.sub(r"\x1b\[[0-9;]*m", "", reply["data"].get("text/plain", ""))


def test_tab_lists_the_modules(kernel):
    for code, names in {
        "cxr_tutorial.": {"splits", "training", "phantom"},
        "cxr_tutorial.sp": {"splits"},
        "cxr_tutorial.phantom.": {"anatomy", "cohort"},
        "cxr_tutorial.splits.split_": {"split_by_patient", "split_table"},
    }.items():
        matches = ask(kernel, kernel.complete(code, len(code)))["matches"]
        found = {match.rpartition(".")[2] for match in matches}
        assert names <= found, f"{code}: {matches}"
    asked = "'torch' in sys.modules"
    kernel_said = []
    kernel.execute_interactive(
        asked, timeout=60, output_hook=lambda m: kernel_said.append(m["content"])
    )
    assert "False" in str(kernel_said), "Tab loads no library that takes seconds"


def test_shift_tab_shows_parameters(kernel):
    text = shown(kernel, "cxr_tutorial.splits.split_by_patient")
    assert "val : float\n" in text and "share of groups for validation, 0 to 1" in text
    text = shown(kernel, "cxr_tutorial.datasets.ChestXrayDataset")
    assert "at_least : int | None" in text
    text = shown(kernel, "cxr_tutorial.cross_validation.PatientKFold.fold_numbers")
    assert "number of the fold" in text
