"Numbers that must be right or refused: metrics, intervals, folds, splits, copies, odd folders."

import os
import tempfile
import time
import tracemalloc
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import norm
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    brier_score_loss,
    f1_score,
    log_loss,
    precision_score,
    recall_score,
    roc_auc_score,
)

from cxr_tutorial.audit.altered import altered_copies
from cxr_tutorial.audit.copies import copies_of, near_duplicates
from cxr_tutorial.audit.looks import small_copies
from cxr_tutorial.audit.report import audit, describe_audit
from cxr_tutorial.cache.images import RowFile, decode_once
from cxr_tutorial.calibration import (
    calibration_error,
    calibration_noise,
    calibration_table,
    decision_curve,
    fit_temperature,
    plot_reliability,
)
from cxr_tutorial.cross_validation import PatientKFold
from cxr_tutorial.files.atomic import fingerprint
from cxr_tutorial.files.readers import load_image
from cxr_tutorial.imbalance import correct_prevalence, imbalance_table
from cxr_tutorial.leakage import split_by_time
from cxr_tutorial.metrics import (
    choose_threshold,
    classification_table,
    discrimination,
    plot_confusion,
    plot_roc_pr,
    plot_thresholds,
    threshold_metrics,
    threshold_table,
)
from cxr_tutorial.splits import split_by_patient
from cxr_tutorial.statistics.bootstrap import evaluate_predictions
from cxr_tutorial.statistics.delong import auroc_delong, compare_auroc
from cxr_tutorial.statistics.studies import simulated_study
from cxr_tutorial.transforms import resize_and_pad
from cxr_tutorial.uncertainty import bootstrap_interval

few = settings(max_examples=30, deadline=None)
LABELS = np.arange(40) % 2
PROBABILITIES = np.clip(np.random.default_rng(0).normal(0.4 + 0.2 * LABELS, 0.2), 0, 1)
TABLE = pd.DataFrame({"label": LABELS, "probability": PROBABILITIES, "patient_id": range(40)})

METRICS = {  # each gets labels and probabilities
    "threshold_metrics": lambda y, p: threshold_metrics(y, p, 0.5),
    "threshold_table": threshold_table,
    "classification_table": lambda y, p: classification_table(y, p, 0.5),
    "discrimination": discrimination,
    "choose_threshold": choose_threshold,
    "plot_thresholds": plot_thresholds,
    "plot_roc_pr": plot_roc_pr,
    "plot_confusion": lambda y, p: plot_confusion(y, p, 0.5),
    "calibration_error": calibration_error,
    "calibration_table": calibration_table,
    "decision_curve": decision_curve,
    "plot_reliability": lambda y, p: plot_reliability({"model": (y, p)}),
    "evaluate_predictions": lambda y, p: evaluate_predictions(table_of(y, p), 0.5, 20),
    "bootstrap_interval": lambda y, p: bootstrap_interval(table_of(y, p), roc_auc_score, 20),
}
OF_SCORES = {  # any finite scores will do
    "auroc_delong": auroc_delong,
    "compare_auroc": lambda y, s: compare_auroc(y, s, PROBABILITIES),
    "fit_temperature": lambda y, s: fit_temperature(s, y),
}


@pytest.fixture(autouse=True)
def no_figure_left():
    yield
    plt.close("all")


def table_of(labels, probabilities):
    "A table of predictions, each image a patient of its own."
    columns = {"label": labels, "probability": probabilities}
    return pd.DataFrame(columns | {"patient_id": range(len(labels))})


# --- what is no label and no probability ---


BAD_LABELS = {
    "-1 for uncertain": np.where(np.arange(40) < 5, -1, LABELS),
    "-1 and 1": 2 * LABELS - 1,
    "text": LABELS.astype(str),
    "missing": np.where(np.arange(40) < 5, np.nan, LABELS),
    "shares": PROBABILITIES,
}


@pytest.mark.parametrize("kind", BAD_LABELS)
@pytest.mark.parametrize("name", METRICS | OF_SCORES)
def test_other_labels_are_refused(name, kind):
    with pytest.raises(ValueError, match="must be 0 or 1"):
        (METRICS | OF_SCORES)[name](BAD_LABELS[kind], PROBABILITIES)


@pytest.mark.parametrize("name", METRICS)
def test_true_and_false_are_labels(name):
    "Labels as booleans give what numbers give."
    one, two = METRICS[name](LABELS, PROBABILITIES), METRICS[name](LABELS == 1, PROBABILITIES)
    assert name.startswith("plot") or str(one) == str(two)


BAD_PROBABILITIES = {
    "missing": np.where(np.arange(40) < 5, np.nan, PROBABILITIES),
    "logits": 8 * PROBABILITIES - 4,
    "percentages": 100 * PROBABILITIES,
    "infinite": np.where(np.arange(40) < 5, np.inf, PROBABILITIES),
}


@pytest.mark.parametrize("kind", BAD_PROBABILITIES)
@pytest.mark.parametrize("name", METRICS)
def test_what_is_no_probability_is_refused(name, kind):
    with pytest.raises(ValueError, match="probabilities"):
        METRICS[name](LABELS, BAD_PROBABILITIES[kind])


@pytest.mark.parametrize("kind", ["missing", "infinite"])
@pytest.mark.parametrize("name", OF_SCORES)
def test_scores_are_finite(name, kind):
    with pytest.raises(ValueError, match="5 of 40 scores are missing or infinite"):
        OF_SCORES[name](LABELS, BAD_PROBABILITIES[kind])


@pytest.mark.parametrize("name", METRICS | OF_SCORES)
def test_another_length_is_refused(name):
    with pytest.raises(ValueError):
        (METRICS | OF_SCORES)[name](LABELS[:-1], PROBABILITIES)


@pytest.mark.fault("{count} probabilities that are NaN", entrance="threshold_metrics")
@pytest.mark.parametrize("count", [5])
def test_nan_probabilities(count, saw):
    with pytest.raises(ValueError) as stopped:
        threshold_metrics(LABELS, BAD_PROBABILITIES["missing"], 0.5)
    saw(stopped.value)


@pytest.mark.fault("logits in place of probabilities", entrance="choose_threshold")
def test_logits(saw):
    with pytest.raises(ValueError) as stopped:
        choose_threshold([0, 1], [-3.0, 2.5])
    saw(stopped.value)


@pytest.mark.fault("percentages in place of probabilities", entrance="choose_threshold")
def test_percentages(saw):
    with pytest.raises(ValueError) as stopped:
        choose_threshold([0, 1], [20, 85])
    saw(stopped.value)


@pytest.mark.fault("labels of -1 for uncertain", entrance="auroc_delong")
def test_uncertain_labels(saw):
    with pytest.raises(ValueError) as stopped:
        auroc_delong(BAD_LABELS["-1 for uncertain"], PROBABILITIES)
    saw(stopped.value)


@pytest.mark.fault("labels as text", entrance="fit_temperature")
def test_text_labels(saw):
    with pytest.raises(ValueError) as stopped:
        fit_temperature(PROBABILITIES, LABELS.astype(str))
    saw(stopped.value)


@pytest.mark.parametrize(
    "function",
    [
        lambda table: imbalance_table(table),
        lambda table: split_by_time(table),
        lambda table: evaluate_predictions(table, 0.5),
        lambda table: bootstrap_interval(table, roc_auc_score),
        lambda table: copies_of(table, *np.zeros((3, 2, 2))),
    ],
)
def test_what_a_table_lacks(function):
    "One line names the missing columns, and what is no table at all."
    with pytest.raises(ValueError, match="missing; it has file, pid") as stopped:
        function(pd.DataFrame({"file": ["a.png"], "pid": [1]}))
    assert "\n" not in str(stopped.value)
    with pytest.raises(TypeError, match=r"not a (cohort table|table of predictions), but list"):
        function(["a.png", "b.png"])


# --- thresholds ---


@pytest.mark.fault("validation patients of one class", entrance="choose_threshold")
def test_one_class_in_validation(saw):
    for policy in ("youden", "f1", "sensitivity", "cost"):
        with pytest.raises(ValueError, match="both classes") as stopped:
            choose_threshold(np.ones(9), np.linspace(0, 1, 9), policy)
    saw(stopped.value)


@pytest.mark.fault("a sensitivity of 95 instead of 0.95", entrance="choose_threshold")
def test_sensitivity_of_95(saw):
    for share in (95, 0, -1, float("nan")):
        with pytest.raises(ValueError):
            choose_threshold(LABELS, PROBABILITIES, "sensitivity", at_least=share)
    with pytest.raises(ValueError) as stopped:
        choose_threshold(LABELS, PROBABILITIES, "sensitivity", at_least=95)
    saw(stopped.value)


@pytest.mark.parametrize("threshold", [float("nan"), 7, -0.1, float("inf")])
def test_no_threshold(threshold):
    for metric in (threshold_metrics, classification_table, plot_confusion, plot_thresholds):
        with pytest.raises(ValueError, match="a threshold lies between 0 and 1"):
            metric(LABELS, PROBABILITIES, threshold)
    with pytest.raises(ValueError, match="a threshold lies between 0 and 1"):
        evaluate_predictions(TABLE, threshold)


@pytest.mark.fault("scores with which it is best to call nobody", entrance="choose_threshold")
def test_best_to_call_nobody(saw):
    labels = np.repeat([1, 0], [10, 90])
    scores = np.repeat([0.2, 0.6], [10, 90])  # the wrong way round
    with pytest.warns(UserWarning, match="calling nobody") as said:
        threshold = choose_threshold(labels, scores, "cost", miss_cost=0.01)
    assert not (scores >= threshold).any()
    sure = np.where(scores > 0.5, 1.0, scores)  # no threshold up to 1 calls nobody
    with pytest.raises(ValueError, match="calling nobody"):
        choose_threshold(labels, sure, "cost", miss_cost=0.01)
    saw("the threshold 1, and a warning", str(said[0].message))


@pytest.mark.fault("equal scores for all images", entrance="choose_threshold")
def test_equal_scores(saw):
    with pytest.warns(UserWarning) as said:
        assert choose_threshold(LABELS, np.full(40, 0.4)) == 1
    result = auroc_delong(LABELS, np.full(40, 0.4))
    assert result["auroc"] == 0.5 and result["low"] < 0.4 and result["high"] > 0.6
    assert threshold_metrics(LABELS, np.full(40, 0.4), 0.4)["sensitivity"] == 1
    saw("the threshold 1, and a warning", str(said[0].message))


# --- metrics ---


@st.composite
def predictions(draw, least=2):
    "Labels of both classes and probabilities with many ties."
    n = draw(st.integers(least, 60))
    labels = np.array([0, 1, *draw(st.lists(st.integers(0, 1), min_size=n - 2, max_size=n - 2))])
    steps = draw(st.sampled_from([2, 10, 1000]))
    ranks = draw(st.lists(st.integers(0, steps), min_size=n, max_size=n))
    return labels, np.array(ranks) / steps


@few
@given(predictions(), st.integers(0, 20).map(lambda k: k / 20))
def test_metrics_are_those_of_scikit_learn(data, threshold):
    labels, probabilities = data
    decisions = probabilities >= threshold
    ours = threshold_metrics(labels, probabilities, threshold)
    both = (ours["sensitivity"] + ours["specificity"]) / 2
    assert np.isclose(both, balanced_accuracy_score(labels, decisions))
    assert np.isclose(ours["sensitivity"], recall_score(labels, decisions))
    assert np.isclose(
        np.nan_to_num(ours["ppv"]), precision_score(labels, decisions, zero_division=0)
    )
    assert np.isclose(ours["f1"], f1_score(labels, decisions, zero_division=0))
    ours = discrimination(labels, probabilities)
    assert np.isclose(ours["auroc"], roc_auc_score(labels, probabilities))
    assert np.isclose(ours["auprc"], average_precision_score(labels, probabilities))
    assert np.isclose(ours["brier"], brier_score_loss(labels, probabilities))


@few
@given(predictions())
def test_table_of_thresholds_is_the_loop(data):
    table = threshold_table(*data, thresholds=[0.0, 0.1, 0.35, 0.5, 1.0])
    for threshold, row in table.iterrows():
        pd.testing.assert_series_equal(
            row, pd.Series(threshold_metrics(*data, threshold)), check_names=False
        )


@few
@given(predictions(), st.sampled_from(["youden", "f1", "cost"]))
def test_no_threshold_is_better_than_the_chosen_one(data, policy):
    labels, probabilities = data

    def worth(threshold):
        rates = threshold_metrics(labels, probabilities, threshold)
        ill = labels.mean()
        cost = 5 * ill * (1 - rates["sensitivity"]) + (1 - ill) * (1 - rates["specificity"])
        youden = rates["sensitivity"] + rates["specificity"]
        return {"youden": youden, "f1": rates["f1"], "cost": -cost}[policy]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            chosen = worth(choose_threshold(labels, probabilities, policy))
        except ValueError as error:
            assert "calling nobody" in str(error) and probabilities.max() == 1
            return
    assert chosen >= max(worth(threshold) for threshold in np.unique(probabilities)) - 1e-12


@few
@given(predictions(), st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_nothing(data, random):
    labels, probabilities = data
    order = list(range(len(labels)))
    random.shuffle(order)
    for metric in (calibration_error, auroc_delong) if min(np.bincount(labels)) > 1 else ():
        one, two = metric(labels, probabilities), metric(labels[order], probabilities[order])
        assert str(np.round(pd.Series(one), 9).tolist()) == str(
            np.round(pd.Series(two), 9).tolist()
        )


def test_calibrated_constant_sorted_by_class():
    "Half of the images are positive, and the model says one half: no error in any order of rows."
    labels = np.repeat([0, 1], 100)
    assert calibration_error(labels, np.full(200, 0.5)) == 0
    assert calibration_table(labels[::-1], np.full(200, 0.5))["ece"] == 0


@few
@given(predictions(least=6))
def test_temperature_is_the_best_there_is(data):
    labels, probabilities = data
    logits = 6 * probabilities - 3
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        temperature = fit_temperature(logits, labels)
    if np.where(labels == 1, logits, -logits).min() >= 0:
        assert temperature == 1
        return

    def loss(t):
        return log_loss(labels, 1 / (1 + np.exp(-logits / t)))

    assert loss(temperature) <= min(loss(t) for t in np.geomspace(0.06, 19, 30)) + 1e-6


@pytest.mark.fault("a million rows", entrance="metrics")
def test_a_million_rows(saw):
    n = 1_000_000
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, n)
    probabilities = 1 / (1 + np.exp(-rng.normal(labels - 0.5, 1)))
    start = time.process_time()
    for policy in ("youden", "f1", "sensitivity", "cost"):
        choose_threshold(labels, probabilities, policy)
    threshold_table(labels, probabilities)
    discrimination(labels, probabilities)
    calibration_error(labels, probabilities)
    fold = PatientKFold(5).fold_numbers(labels, rng.integers(0, n // 3, n))
    assert np.ptp(np.bincount(fold)) < 2000
    assert time.process_time() - start < 30
    saw("thresholds, metrics, calibration and folds, in seconds")


# --- intervals ---


@pytest.mark.fault("a small test set without an error", entrance="evaluate_predictions")
def test_no_interval_of_zero_width(saw):
    separated = table_of([0, 1] * 6, [0.1, 0.9] * 6)
    table = evaluate_predictions(separated, 0.5, draws=100)
    assert (table.high > table.low).drop("brier").all() and table.low["auroc"] < 0.8
    with pytest.warns(UserWarning, match="no interval") as said:
        found = bootstrap_interval(separated, roc_auc_score, draws=50)
    assert np.isnan(found["low"]) and found["estimate"] == 1
    low = f"AUROC 1.000 ({table.low['auroc']:.3f} to 1.000) from 12 patients"
    saw(f"intervals that hold near one: {low}", str(said[0].message))


@few
@given(predictions(least=8), st.integers(1, 4))
def test_intervals_hold_the_estimate(data, images):
    labels, probabilities = data
    patients = np.arange(len(labels)) // images
    if min(len(set(patients[labels == k])) for k in (0, 1)) < 2:
        with pytest.raises(ValueError, match="two patients of each class"):
            auroc_delong(labels, probabilities, patients)
        return
    one = auroc_delong(labels, probabilities, patients)
    assert 0 <= one["low"] <= one["auroc"] <= one["high"] <= 1 and one["low"] < one["high"]
    opposite = compare_auroc(labels, probabilities, 1 - probabilities, patients)
    assert np.isclose(opposite["difference"], 2 * one["auroc"] - 1)
    assert opposite["low"] <= opposite["difference"] <= opposite["high"]


def test_perfect_against_inverse():
    result = compare_auroc(LABELS, LABELS, 1 - LABELS)
    assert result["difference"] == 1 and result["p"] < 1e-6 and result["low"] > 0.8


@pytest.mark.slow
@pytest.mark.parametrize(
    ("truth", "patients", "images"),
    [(0.987, 20, 1), (0.997, 12, 1), (0.95, 20, 3), (0.86, 60, 3), (0.75, 30, 2)],
)
def test_intervals_cover_at_the_stated_rate(truth, patients, images):
    apart, inside = norm.ppf(truth) * np.sqrt(2), []
    for number in range(1000):
        study = simulated_study([5, number], patients, images, apart=apart)
        found = auroc_delong(study.label, study.probability, study.patient_id)
        inside.append(found["low"] <= truth <= found["high"])
    assert np.mean(inside) > 0.95 - 2 * np.sqrt(0.95 * 0.05 / 1000)  # two standard errors


@pytest.mark.slow
@pytest.mark.parametrize(("patients", "apart"), [(20, 2.5), (40, 1.5)])
def test_intervals_of_rates_cover(patients, apart):
    "Sensitivity and specificity with a threshold at the middle."
    truth, inside = norm.cdf(apart / 2), []
    threshold = 1 / (1 + np.exp(-apart / 2))
    for number in range(300):
        study = simulated_study([6, number], patients, 1, apart=apart)
        table = evaluate_predictions(study, threshold, draws=200)
        for name in ("sensitivity", "specificity"):
            inside.append(table.low[name] <= truth <= table.high[name])
    assert np.mean(inside) > 0.92


# --- folds and splits ---


@st.composite
def cohorts(draw):
    "At least ten patients of each class, with one to four images, some with both labels."
    rows = []
    for patient in range(draw(st.integers(20, 40))):
        for _ in range(draw(st.integers(1, 4))):
            rows.append((f"p{patient:03d}", patient % 2))
        if patient % 2 and draw(st.booleans()):
            rows.append((f"p{patient:03d}", 0))
    table = pd.DataFrame(rows, columns=["patient_id", "label"])
    return table.sample(frac=1, random_state=draw(st.integers(0, 99)), ignore_index=True)


@few
@given(cohorts(), st.integers(2, 5), st.integers(0, 3))
def test_folds_cover_all_and_share_nobody(cohort, n_splits, seed):
    tested = np.zeros(len(cohort), int)
    splits = PatientKFold(n_splits, seed).split(cohort, cohort.label, cohort.patient_id)
    for train, test in splits:
        assert not set(cohort.patient_id[train]) & set(cohort.patient_id[test])
        assert len(train) + len(test) == len(cohort) and cohort.label[test].nunique() == 2
        tested[test] += 1
    assert (tested == 1).all()


@few
@given(cohorts(), st.integers(0, 5), st.sampled_from([(0.15, 0.2), (0.0, 0.3), (0.3, 0.3)]))
def test_splits_cover_all_and_share_nobody(cohort, seed, shares):
    val, test = shares
    parts = split_by_patient(cohort, val=val, test=test, seed=seed, test_seed=seed)
    assert len(parts) == len(cohort) and parts.split.notna().all()
    assert (parts.groupby("patient_id").split.nunique() == 1).all()
    assert (parts.groupby("split").label.nunique() == 2).all()


@few
@given(cohorts(), st.integers(0, 5))
def test_splits_by_time_share_nobody(cohort, seed):
    days = np.random.default_rng(seed).permutation(len(cohort))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            parts = split_by_time(cohort.assign(acquired=days))
    except ValueError as error:
        assert "lacks a class" in str(error)
        return
    used = parts[parts.split != "out"]
    assert (used.groupby("patient_id").split.nunique() == 1).all()
    latest = used.groupby("split").acquired.agg(["min", "max"])
    assert latest.loc["train", "max"] < latest.loc["test", "min"]


@pytest.mark.fault("fewer patients than folds", entrance="PatientKFold")
def test_fewer_patients_than_folds(saw):
    with pytest.raises(ValueError) as stopped:
        PatientKFold(5).fold_numbers([0, 1, 0, 1, 1], [1, 2, 3, 4, 5])
    saw(stopped.value)


@pytest.mark.fault("labels of -1 for uncertain", entrance="PatientKFold")
def test_folds_of_uncertain_labels(saw):
    labels = [0, 1] * 15 + [-1] * 5 + [np.nan] * 5
    with pytest.raises(ValueError) as stopped:
        PatientKFold(5).fold_numbers(labels, range(40))
    saw(stopped.value)


def test_folds_of_booleans_are_folds_of_numbers():
    labels = np.array([True] * 16 + [False] * 14)
    one = PatientKFold(5).fold_numbers(labels, range(30))
    assert np.array_equal(one, PatientKFold(5).fold_numbers(labels.astype(int), range(30)))


@pytest.mark.fault("one class", entrance="split_by_time")
def test_one_class_by_time(saw):
    cohort = pd.DataFrame({"patient_id": range(9), "label": 1, "acquired": range(9)})
    with pytest.raises(ValueError) as stopped:
        split_by_time(cohort)
    saw(stopped.value)


@pytest.mark.fault("days since each patient's first image", entrance="split_by_time")
def test_days_since_the_first_image(saw):
    cohort = pd.DataFrame({"patient_id": range(9), "label": LABELS[:9], "study_day": 0})
    cohort = pd.concat([cohort, cohort.assign(study_day=range(9, 18))], ignore_index=True)
    with pytest.raises(ValueError) as stopped:
        split_by_time(cohort, "study_day")
    saw(stopped.value)


@pytest.mark.fault("nine of ten images taken on the last day", entrance="split_by_time")
def test_nearly_everything_on_the_last_day(saw):
    acquired = np.where(np.arange(40) < 4, 1, 2)
    cohort = pd.DataFrame({"patient_id": range(40), "label": LABELS, "acquired": acquired})
    with pytest.warns(UserWarning) as said:
        parts = split_by_time(cohort)
    assert (parts.split == "train").sum() == 4
    saw("a split of 10 % and 90 %, and a warning", str(said[0].message))


def test_prevalences_and_noise():
    for trained, actual in ((0, 0.5), (0.5, 1), (50, 5), (float("nan"), 0.5)):
        with pytest.raises(ValueError, match="prevalences lie between 0 and 1"):
            correct_prevalence([0.2], trained, actual)
    with pytest.raises(ValueError, match="probabilities"):
        correct_prevalence([20], 0.5, 0.1)
    with pytest.raises(ValueError, match="patient id"):
        calibration_noise(PROBABILITIES, [None] * 40)


# --- copies ---


def chest(seed, size=(90, 80)):
    "Smooth noise that is no other's."
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 255, (12, 11)).astype(np.uint8))
    return small.resize(size, Image.Resampling.BICUBIC)


@few
@given(
    st.integers(0, 99),
    st.sampled_from([None, *Image.Transpose]),
    st.booleans(),
    st.floats(-5, 5),
    st.tuples(*[st.integers(0, 12)] * 4),
    st.sampled_from([0, 128, 255]),
)
def test_altered_copies_are_found(seed, turned, inverted, degrees, padding, grey):
    image = chest(seed)
    altered = image.rotate(degrees, Image.Resampling.BILINEAR) if turned is None else image
    altered = altered.transpose(turned) if turned is not None else altered
    altered = Image.fromarray(255 - np.asarray(altered)) if inverted else altered
    wide = (altered.width + padding[0] + padding[2], altered.height + padding[1] + padding[3])
    padded = Image.new("L", wide, grey)
    padded.paste(altered, padding[:2])
    if turned is None:  # the corners of a turn are black, so there is no padding to see
        padded = altered
    others = [small_copies(chest(1000 + seed + k)) for k in range(8)]
    found = altered_copies(np.stack([small_copies(image), small_copies(padded), *others]))
    assert found[["first", "second"]].values.tolist() == [[0, 1]]
    assert ("inverted" in found.how[0]) == inverted


@pytest.mark.fault("800 black images and 800 nearly equal ones", entrance="near_duplicates")
def test_equal_images_do_not_fill_the_memory(saw):
    rng = np.random.default_rng(0)
    black = np.full((800, 1024), 7, np.float32)
    alike = np.repeat(rng.normal(100, 40, (1, 1024)), 800, 0) + rng.normal(0, 1, (800, 1024))
    hashes = np.repeat(rng.integers(0, 2, (1, 256)) > 0, 800, 0)
    tracemalloc.start()
    assert len(near_duplicates(black, np.zeros((800, 256), bool))) == 0
    pairs = near_duplicates(alike.astype(np.float32), hashes)
    most = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    assert set(pairs["second"]) == set(range(1, 800)) and len(pairs) <= 50 * 800 and most < 100
    saw("each image beside at most 50 earlier ones; memory below 100 MB")


# --- the audit of odd folders ---


def write_folder(folder, image_of, normal=12, pneumonia=12):
    "Images of as many patients, under the names of the public set."
    names = [f"NORMAL/IM-{k:04d}-0001.png" for k in range(normal)]
    names += [f"PNEUMONIA/person{k}_virus_{k}.png" for k in range(pneumonia)]
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(exist_ok=True)
        Image.fromarray(np.asarray(image_of(number), np.uint8)).save(folder / name)
    return folder


ODD = {
    "all images equal": lambda k: np.asarray(chest(0)),
    "all images of one grey level": lambda k: np.full((40, 32), 90),
    "each image of another grey level": lambda k: np.full((40, 32), 5 * k),
    "nothing but noise": lambda k: np.random.default_rng(k).integers(0, 255, (40, 32)),
    "images of a few pixels": lambda k: np.random.default_rng(k).integers(0, 255, (9, 9)),
}


@pytest.mark.fault("{what}", entrance="audit")
@pytest.mark.parametrize("what", ODD)
def test_audit_of_odd_images(what, tmp_path, saw):
    table = audit(write_folder(tmp_path, ODD[what]))
    assert "balance" in set(table.kind) and describe_audit(table)
    kinds = [kind for kind, level in zip(table.kind, table.level, strict=True) if level == "stop"]
    blank = "grey level" in what
    assert ("blank-images" in kinds) == blank
    if "equal" in what or what == "all images of one grey level":
        assert "identical-labels" in kinds
    saw("a report" + (f" that stops at {', '.join(kinds)}" if kinds else ""))


@pytest.mark.fault("one image per class", entrance="audit")
def test_audit_of_one_image_per_class(tmp_path, saw):
    table = audit(write_folder(tmp_path, ODD["nothing but noise"], 1, 1))
    few_patients = table.set_index("kind").evidence["too-few-patients"]
    saw("a report", few_patients)


# --- the cache ---


@settings(max_examples=20, deadline=None)
@given(st.integers(16, 60), st.integers(16, 60), st.integers(0, 9), st.sampled_from([16, 33]))
def test_cached_is_decoded(height, width, seed, size):
    "What comes from the cache is what decoding gives, in the order of the table."
    pixels = np.random.default_rng(seed).integers(0, 255, (3, height, width)).astype(np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        paths = [f"{folder}/{number}.png" for number in range(3)]
        for path, one in zip(paths, pixels, strict=True):
            Image.fromarray(one).save(path)
        hashes = [fingerprint(one) for one in pixels]
        sizes = [os.path.getsize(path) for path in paths]
        table = pd.DataFrame({"path": paths, "image_hash": hashes, "bytes": sizes})
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("CXR_CACHE", f"{folder}/cache")
            kept = RowFile(decode_once(table, size))[np.argsort(np.argsort(hashes))]
        for one, path in zip(kept, paths, strict=True):
            decoded = torch.from_numpy(load_image(path, at_least=size).copy())[None]
            assert np.array_equal(one, resize_and_pad(size)(decoded)[0].numpy())
