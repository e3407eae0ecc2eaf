"""What a cell shows, as words and numbers, and whether two runs of it show the same."""

import re

import nbformat

from cxr_tutorial.lab.assets import cell_options

NUMBER = re.compile(r"(?<![\w.])[-+−]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?(?!\w)")


def shown(cell: nbformat.NotebookNode) -> str:
    "The text of a cell's outputs. Figures, scripts and what differs in each run are left out."
    texts = []
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        printed = output.get("text", "") if output.get("name") == "stdout" else ""
        texts.append(data.get("text/html") or data.get("text/plain", printed))
    text = re.sub(r"<(script|style|svg)\b.*?</\1>|<[^>]+>", " ", "\n".join(texts), flags=re.S)
    return re.sub(r"\b0x[0-9a-f]+|/\S*/tmp\w+", "…", text)


def parts(text: str) -> tuple[list[str], list[str]]:
    "Words and numbers of a text, in order; lines of a table may be drawn wider or narrower."
    return re.sub(r"[-=\s]{2,}|\s", " ", NUMBER.sub("#", text)).split(), NUMBER.findall(text)


def value(number: str) -> float:
    return float(number.replace(",", "").replace("−", "-"))


def alike(stored: str, fresh: str) -> bool:
    """Are two printed numbers the same, but for the processor?

    Processors add up in other orders, and training makes more of it: the features of a network
    differ in the last digits, what a head learns from them by up to 0.05. Measured on two (AMX, and
    AVX-512 without it): all that is printed differs by less than 0.06, a tenth, or by one if it is
    a count, but in the cells that say so."""
    least = 0.06 if "." in stored + fresh else 1.0
    tiny = "e-" in stored and "e-" in fresh  # p-values and rounding errors: the size counts
    a, b = value(stored), value(fresh)
    return abs(a - b) <= max(0.1 * abs(a), 0.0 if tiny else least)


def may_vary(cell: nbformat.NotebookNode) -> bool:
    "A cell with the option `varies` says why; answers to an exercise are tried on fresh patients."
    tried = re.search(r"\b(checker|run_check)\(|\bcheck\(\"", cell.source)
    return "varies" in cell_options(cell.source) or bool(tried)


def differences(stored: nbformat.NotebookNode, fresh: nbformat.NotebookNode) -> list[str]:
    "Cells that show other words or numbers, but for those that may."
    found = []
    for number, (old, new) in enumerate(zip(stored.cells, fresh.cells, strict=True)):
        if old.cell_type != "code" or may_vary(old):
            continue
        (words, values), (new_words, new_values) = parts(shown(old)), parts(shown(new))
        if words != new_words:
            changed = [(a, b) for a, b in zip(words, new_words, strict=False) if a != b][:3]
            found.append(f"cell {number}: {len(words)} and {len(new_words)} words: {changed}")
            continue
        pairs = [pair for pair in zip(values, new_values, strict=True) if not alike(*pair)]
        found += [f"cell {number}: {a} is stored, {b} was found" for a, b in pairs]
    return found
