"""Measures of a million predictions: time grows as sorting does, and small tables agree."""

import time

import numpy as np
import pytest

from cxr_tutorial.calibration import calibration_table, decision_curve
from cxr_tutorial.metrics import (
    choose_threshold,
    discrimination,
    threshold_metrics,
    threshold_table,
)
from cxr_tutorial.statistics.bootstrap import evaluate_predictions
from cxr_tutorial.statistics.delong import auroc_delong, compare_auroc
from cxr_tutorial.statistics.studies import simulated_study

EVERY = np.arange(1, 1000) / 1000


def few_rows(seed: int):
    "Labels and probabilities with many ties, and probabilities of 0 and 1."
    rng = np.random.default_rng(seed)
    labels = np.array([0, 1, *rng.integers(0, 2, 58)])
    return labels, rng.integers(0, 11, 60) / 10


@pytest.mark.parametrize("seed", range(5))
def test_a_decision_curve_is_what_a_loop_counts(seed):
    labels, probabilities = few_rows(seed)
    curve = decision_curve(labels, probabilities, EVERY[[99, 299, 300, 554, 899]])
    for threshold, row in curve.iterrows():
        acted, odds = probabilities >= threshold, threshold / (1 - threshold)
        for name, who in (("model", acted), ("treat all", np.ones(60, bool))):
            found, alarms = (who & (labels == 1)).sum(), (who & (labels == 0)).sum()
            assert row[name] == pytest.approx((found - odds * alarms) / 60, abs=1e-12)
        assert row["treat none"] == 0


@pytest.mark.parametrize("seed", range(5))
def test_thresholds_are_what_a_loop_finds(seed):
    labels, probabilities = few_rows(seed)
    table = threshold_table(labels, probabilities, np.arange(11) / 10)
    for threshold, row in table.iterrows():
        expected = threshold_metrics(labels, probabilities, threshold)
        assert row.to_dict() == pytest.approx(expected, nan_ok=True)
    youden = table.sensitivity + table.specificity
    chosen = choose_threshold(labels, probabilities, "youden")
    assert youden[chosen] == pytest.approx(youden.max())
    assert table.f1[choose_threshold(labels, probabilities, "f1")] == pytest.approx(table.f1.max())
    kept = choose_threshold(labels, probabilities, "sensitivity", at_least=0.8)
    assert kept == table.index[table.sensitivity >= 0.8].max()


WORK = {
    "threshold_table": lambda t: threshold_table(t.label, t.probability, EVERY),
    "youden": lambda t: choose_threshold(t.label, t.probability, "youden"),
    "f1": lambda t: choose_threshold(t.label, t.probability, "f1"),
    "discrimination": lambda t: discrimination(t.label, t.probability),
    "calibration_table": lambda t: calibration_table(t.label, t.probability),
    "decision_curve": lambda t: decision_curve(t.label, t.probability, EVERY),
    "auroc_delong": lambda t: auroc_delong(t.label, t.probability, t.patient_id),
    "compare_auroc": lambda t: compare_auroc(t.label, t.probability, -t.index, t.patient_id),
}


def seconds(work, table) -> float:
    "Of the processor; the shortest of three runs."
    taken = []
    for _ in range(3):
        start = time.process_time()
        work(table)
        taken.append(time.process_time() - start)
    return min(taken)


@pytest.mark.parametrize("name", WORK)
def test_time_grows_as_sorting_does(name):
    "Ten times the rows take 12 times as long, and 100 times if each is compared with each."
    small, large = (simulated_study(1, patients=n // 2, images=2) for n in (100_000, 1_000_000))
    ratio = seconds(WORK[name], large) / seconds(WORK[name], small)
    assert ratio < 20, f"{name}: ten times the rows take {ratio:.0f} times as long"


def test_a_million_rows_are_evaluated_with_a_bar(capsys):
    table = simulated_study(1, patients=500_000, images=2)
    start = time.process_time()
    result = evaluate_predictions(table, 0.5, draws=20)
    assert time.process_time() - start < 20
    assert "resampling patients" in capsys.readouterr().err
    assert (result.high - result.low).between(0, 0.01).all()
    assert result.estimate.between(result.low - 0.001, result.high + 0.001).all()
