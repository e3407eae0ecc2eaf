"""What several tests need: the chapters, executed once, and the places of data."""

import os
from functools import cache
from pathlib import Path

import nbformat
import pytest

from cxr_tutorial.course import ChapterError, execute, list_chapters, notebook_folder

ROOT = Path(__file__).resolve().parents[1]
NBS = notebook_folder(ROOT / "nbs")
CHAPTERS = [c.stem for c in list_chapters(NBS)]


def real_data() -> Path | None:
    "The folder of real X-rays, if this machine has it."
    folder = Path(os.environ.get("CXR_REAL_DATA") or ROOT.parent / "shared" / "kermany224")
    return folder if folder.is_dir() else None


needs_real_data = pytest.mark.skipif(real_data() is None, reason="no real X-rays here: set CXR_REAL_DATA to the public pneumonia set")


@cache
def executed(chapter: str) -> tuple[nbformat.NotebookNode, ChapterError | None]:
    "A chapter after a run in a fresh kernel, and the error that stopped it, if any. Each chapter runs once per session."
    notebook = nbformat.read(NBS / f"{chapter}.ipynb", 4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    try:
        return execute(notebook, NBS, chapter), None
    except ChapterError as error:
        return notebook, error


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    "Tests start with an empty cache, as a reader does."
    folder = tmp_path_factory.mktemp("cache")
    before = os.environ.get("CXR_CACHE")
    os.environ["CXR_CACHE"] = str(folder)
    os.environ.pop("CXR_DATA", None)
    yield folder
    os.environ.pop("CXR_CACHE") if before is None else os.environ.update(CXR_CACHE=before)
