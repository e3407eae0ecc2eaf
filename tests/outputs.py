"""What a cell shows, as words and numbers, and whether two runs of it show the same."""

import math
import re

import nbformat

from cxr_tutorial.lab.assets import cell_options

NUMBER = re.compile(r"(?<![\w.])[-+−]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?(?!\w)")


def shown(cell: nbformat.NotebookNode) -> str:
    "The text of a cell's outputs. Figures, scripts and what differs in each run are left out."
    texts = []
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        plain = data.get("text/plain", "")
        page = data.get("text/html", "") if re.match(r"<[\w.]+( object| at|>)", plain) else ""
        texts.append(output.get("text", "") if output.get("name") == "stdout" else page or plain)
    text = re.sub(r"<(script|style)\b.*?</\1>|<[^>]+>", " ", "\n".join(texts), flags=re.S)
    return re.sub(r"\b0x[0-9a-f]+|/\S*/tmp\w+", "…", text)


def parts(text: str) -> tuple[list[str], list[str]]:
    "Words and numbers of a text, in order; lines of a table may be drawn wider or narrower."
    return re.sub(r"[-=\s]{2,}|\s", " ", NUMBER.sub("#", text)).split(), NUMBER.findall(text)


def value(number: str) -> float:
    return float(number.replace(",", "").replace("−", "-"))


def step(number: str) -> float:
    "What the last digit of a printed number is worth."
    digits, _, exponent = number.partition("e")
    return 10.0 ** (int(exponent or 0) - len(digits.partition(".")[2]))


def differences(
    stored: nbformat.NotebookNode, fresh: nbformat.NotebookNode, relative: float, steps: float
) -> list[str]:
    """Cells that show other words, or numbers that are further apart than `relative` of the larger
    and `steps` of the last digit printed. A cell with the option `varies` says what may differ."""
    found = []
    for number, (old, new) in enumerate(zip(stored.cells, fresh.cells, strict=True)):
        if old.cell_type != "code" or "varies" in cell_options(old.source):
            continue
        (words, values), (new_words, new_values) = parts(shown(old)), parts(shown(new))
        if words != new_words:
            changed = [pair for pair in zip(words, new_words) if pair[0] != pair[1]][:3]
            found.append(f"cell {number}: {len(words)} and {len(new_words)} words: {changed}")
            continue
        for a, b in zip(values, new_values, strict=True):
            far = abs(value(a) - value(b))
            if far > max(relative * abs(value(a)), steps * max(step(a), step(b))) or math.isnan(
                far
            ):
                found.append(f"cell {number}: {a} is stored, {b} was found")
    return found
