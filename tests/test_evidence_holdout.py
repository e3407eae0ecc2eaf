"What is tried on held-out children: the rule by which is chosen, and that all tries are shown."

import json
import sys

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import NBS, ROOT

from cxr_tutorial.lab.assets import course_file
from cxr_tutorial.models import MedicalImageClassifier

sys.path.insert(0, str(ROOT / "benchmarks"))
import holdout

TOLD = json.loads(course_file("benchmarks/holdout.json").read_text("utf-8"))
ROWS = pd.DataFrame(TOLD["rows"])
HELD = ROWS[ROWS["held out"].notna()]


def test_validation_children_choose_and_each_try_is_asked_once():
    for (question, name), own in ROWS.groupby(["question", "try"]):
        asked = own[own["held out"].notna()]
        assert len(asked) == 1, f"{question}, {name}: the held-out children choose"
        assert asked.validation.iloc[0] == own.validation.max(), (question, name)
    for question, own in ROWS.groupby("question"):
        choice = own[own["the choice"]]
        assert len(choice) == 1 and choice.validation.iloc[0] == own.validation.max(), question
        assert choice["held out"].notna().all()


def test_a_gain_is_that_of_the_held_out_children():
    for _, own in HELD.groupby("question", sort=False):
        first = own["held out"].iloc[0][0]
        assert own.gain.iloc[0] == [0, 0, 0]
        for (value, low, high), gain in zip(own["held out"], own.gain, strict=True):
            assert gain[0] == pytest.approx(value - first, abs=2e-4)
            assert low <= value <= high and gain[1] <= gain[0] <= gain[2]


def test_both_questions_were_asked_of_the_same_share_of_children():
    assert len(TOLD["parts"]) == ROWS.question.nunique() == 2
    for parts in TOLD["parts"].values():
        children = {part: row["children"] for part, row in parts.items()}
        assert children["test"] / sum(children.values()) == pytest.approx(0.2, abs=0.01)
        assert children["val"] / sum(children.values()) == pytest.approx(0.15, abs=0.01)


def test_the_room_and_the_table_show_every_try():
    text = course_file("benchmarks/holdout.md").read_text("utf-8")
    cells = nbformat.read(NBS / "dev" / "holdout.ipynb", 4).cells
    html = [o.data.get("text/html", "") for c in cells for o in c.get("outputs", []) if "data" in o]
    tries, settings = html[-2:]
    for row in HELD.to_dict("records"):
        line = f"| {row['question']} | {row['try']} |"
        assert line in text and f">{holdout.words(row['held out'])}<" in tries, line
    assert settings.count("<tr>") == len(ROWS) + 1, "a row for each setting, and the heads"


def test_the_last_layer_is_what_the_backbone_gives():
    model = MedicalImageClassifier(size=64, pretrained=False).eval()
    network, images = holdout.Pooled(model.backbone).eval(), torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        features, expected = network(images).numpy(), model.backbone(images).numpy()
    parts = network.parts(features)
    assert np.allclose(parts["mean"], expected, atol=1e-5)
    assert (parts["maximum"] >= parts["mean"]).all()
    assert parts["stages"].shape == parts["stage maxima"].shape
    assert (parts["stage maxima"] >= parts["stages"]).all()
