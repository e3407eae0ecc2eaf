"""Exercises know the truth: their checks are checked, and so are the versions made from them."""

import inspect
import json
import random
import re
import time
from functools import cache

import nbformat
import pytest
from conftest import NBS
from test_rooms import MODULES, imported

from cxr_tutorial.lab import exercises as engine
from cxr_tutorial.lab.exercises import Wrong, exercise_module, list_exercises, run_check
from cxr_tutorial.lab.versions import check_call, learner_version, nbgrader_source

TABLE = list_exercises()
SLUGS = TABLE.slug.tolist()
FILES = dict(zip(TABLE.slug, TABLE.file, strict=True))
LONGEST = 5  # seconds of one check, on one core


def notebook(slug: str) -> dict:
    return json.loads((NBS / "exercises" / FILES[slug]).read_text(encoding="utf-8"))


def sources(content: dict) -> list[str]:
    return ["".join(c["source"]) for c in content["cells"] if c["cell_type"] == "code"]


def run_cells(cells: list[str], name: str) -> dict:
    "The names that cells define; checks, hints and plain looks at results are left out."
    space = {"__name__": name}
    for source in cells:
        if not re.match(
            r"(check|hint)\(|#\|\s*(default_exp|eval)|result = checker|for .*WRONG_WAYS", source
        ):
            exec(compile(source, name, "exec"), space)
    return space


@cache
def solved(slug: str) -> tuple:
    "The answer of the solution, and the wrong ways."
    space = run_cells(sources(notebook(slug)), slug)
    return eval(check_call(notebook(slug))[1], space), space["WRONG_WAYS"]


def stub(slug: str):
    "The answer of an untouched learner's version."
    space = run_cells(sources(learner_version(notebook(slug))), slug)
    return eval(check_call(notebook(slug))[1], space)


@pytest.fixture
def seeds(monkeypatch):
    "Lets a test say which seeds a check draws."

    def start(seed: int) -> None:
        monkeypatch.setattr(engine, "_DRAW", random.Random(seed))

    return start


def kinds(result) -> set:
    return {message.kind for message in result.messages if not message.good}


def test_twelve_exercises_from_ten_minutes_upwards():
    assert TABLE.slug.is_unique and TABLE.minutes.between(10, 240).all()
    assert TABLE.file.str[:2].astype(int).tolist() == list(range(1, len(TABLE) + 1))


@pytest.mark.parametrize("slug", SLUGS)
def test_the_solution_gets_full_points(slug, seeds):
    for seed in (1, 2):
        seeds(seed)
        start = time.process_time()
        result = run_check(slug, solved(slug)[0])
        assert time.process_time() - start < LONGEST
        assert result.points == result.of == exercise_module(slug).POINTS > 0, str(result)
        assert result.messages and not kinds(result)


@pytest.mark.parametrize("slug", SLUGS)
def test_an_untouched_stub_gets_nothing_and_no_traceback(slug):
    result = run_check(slug, stub(slug))
    assert result.points == 0 and kinds(result) == {"blank"}, str(result)


@pytest.mark.parametrize("slug", SLUGS)
def test_each_wrong_way_gets_its_own_words(slug, seeds):
    _, ways = solved(slug)
    said = {}
    assert len(ways) >= 3
    for number, (name, answer) in enumerate(ways.items()):
        seeds(100 + number)
        result = run_check(slug, answer)
        assert result.points < result.of, f"{name} gets full points"
        assert name in kinds(result), f"{name}: {result}"
        said[name] = {m.text for m in result.messages if m.kind == name}
        for message in result.messages:  # a link leads to a chapter, and to a heading in it
            assert engine._message_html(message) and len(message.text) > 20
    plain = [re.sub(r"\d+(\.\d+)?", "N", text) for texts in said.values() for text in texts]
    assert len(plain) == len(set(plain)), "two wrong ways get the same words"


def recorded(answer, kept: list):
    "The same answer, whose functions write down what they return."
    if isinstance(answer, (tuple, list)):
        return tuple(recorded(one, kept) for one in answer)
    if isinstance(answer, dict):
        return {name: recorded(one, kept) for name, one in answer.items()}
    if not inspect.isroutine(answer):
        return answer
    mine: list = []
    kept.append(mine)

    def record(*arguments, **named):
        mine.append(answer(*arguments, **named))
        return mine[-1]

    return record


def replayed(answer, kept: list):
    "The same answer, whose functions repeat what was written down, whatever they are asked."
    if isinstance(answer, (tuple, list)):
        return tuple(replayed(one, kept) for one in answer)
    if isinstance(answer, dict):
        return {name: replayed(one, kept) for name, one in answer.items()}
    if not inspect.isroutine(answer):
        return answer
    mine = kept.pop(0)
    position = iter(range(10**6))
    return lambda *_, **__: mine[next(position) % len(mine)]


@pytest.mark.parametrize("slug", SLUGS)
def test_todays_result_fails_tomorrow(slug, seeds):
    kept: list = []
    seeds(11)
    assert run_check(slug, recorded(solved(slug)[0], kept)).points == exercise_module(slug).POINTS
    assert kept and all(kept)
    seeds(12)
    result = run_check(slug, replayed(solved(slug)[0], kept))
    assert result.points < result.of / 2, str(result)


@pytest.mark.parametrize("slug", SLUGS)
def test_a_wrong_type_is_a_message(slug):
    for answer in (None, 7, "text", lambda *_: None, (len, len), [], {}):
        result = run_check(slug, answer)
        assert result.points <= result.of / 2 and kinds(result), f"{answer!r}: {result}"


@pytest.mark.parametrize("slug", SLUGS)
def test_the_stub_equals_the_solution_but_for_the_blanks(slug):
    learner, whole = learner_version(notebook(slug)), notebook(slug)
    kept = [c for c in whole["cells"] if "default_exp" not in "".join(c["source"])]
    solution = re.compile(r"^( *)### BEGIN SOLUTION\n.*?^ *### END SOLUTION$", re.S | re.M)
    blank = r"\1# YOUR CODE HERE\n\1raise NotImplementedError()"
    blanks = 0
    for mine, theirs in zip(learner["cells"], kept, strict=False):
        expected, count = solution.subn(blank, "".join(theirs["source"]))
        assert mine["source"] == re.sub(r"^#\|\s*(export|hide).*\n", "", expected, flags=re.M)
        blanks += count
    assert blanks
    nbformat.validate(nbformat.from_dict(learner))


@pytest.mark.parametrize("slug", SLUGS)
def test_a_learners_version_holds_no_solution(slug):
    text = json.dumps(learner_version(notebook(slug)))
    solutions = re.findall(
        r"### BEGIN SOLUTION\n(.*?)### END SOLUTION", "\n".join(sources(notebook(slug))), re.S
    )
    lines = {line.strip() for part in solutions for line in part.splitlines() if len(line) > 24}
    given = {
        line.strip() for s in sources(learner_version(notebook(slug))) for line in s.split("\n")
    }
    assert solutions and not [line for line in lines - given if json.dumps(line)[1:-1] in text]
    for word in ("BEGIN SOLUTION", "For instructors", "WRONG_WAYS", "HINTS", "def checker"):
        assert word not in text


@pytest.mark.parametrize("slug", SLUGS)
def test_an_exercise_uses_only_chapters_before_its_place(slug):
    after = "course/" + TABLE.set_index("slug").after[slug]
    assert (NBS / f"{after}.ipynb").is_file()
    for source in sources(learner_version(notebook(slug))):
        for module in imported(source):
            owner = MODULES.get(module, "")
            assert not owner.startswith("course/") or owner <= after, f"{module} comes later"


@pytest.mark.parametrize("slug", SLUGS)
def test_three_hints_lead_and_do_not_tell(slug):
    hints = exercise_module(slug).HINTS
    assert len(hints) == 3 and all(len(text) > 30 for text in hints)
    solution = "\n".join(sources(notebook(slug)))
    for part in re.findall(r"### BEGIN SOLUTION\n(.*?)### END SOLUTION", solution, re.S):
        for line in part.splitlines():
            assert len(line.strip()) < 20 or line.strip() not in " ".join(hints)


@pytest.mark.parametrize("slug", SLUGS)
def test_whatever_comes_back_is_answered_by_a_message(slug):
    for value in (None, [], "x", float("nan"), {"a": 1}, [[1, 2], [3]]):
        answer, _ = solved(slug)
        kept: list = []
        recorded(answer, kept)
        result = run_check(slug, replayed(answer, [[value] for _ in kept]))
        assert result.points < result.of


def test_nbgraders_own_preprocessor_makes_the_same_blanks():
    preprocessors = pytest.importorskip("nbgrader.preprocessors")
    clear = preprocessors.ClearSolutions()
    for slug in SLUGS:
        marked = nbformat.from_dict(nbgrader_source(notebook(slug), 10))
        theirs, _ = clear.preprocess(marked, {})
        mine = [cell["source"] for cell in learner_version(notebook(slug))["cells"]]
        graded = [c.source for c in theirs.cells if not c.source.startswith("# Graded")]
        assert graded == mine


def test_marks_without_partner_are_refused():
    from cxr_tutorial.lab.versions import clear_solution

    for source in ("### BEGIN SOLUTION", "### END SOLUTION", "### BEGIN SOLUTION\n" * 2):
        with pytest.raises(ValueError, match=r"partner|no ### END"):
            clear_solution(source)


def test_wrong_is_the_only_way_to_stop():
    with pytest.raises(Wrong, match="not-there"):
        exercise_module("not-there")
