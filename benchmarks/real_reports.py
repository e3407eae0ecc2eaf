"Questions to real X-rays: numbers that are reported (chapters 10 to 14)."

from functools import lru_cache

import numpy as np
from real_data import auroc, cut, draw, logistic
from real_record import question
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cxr_tutorial.metrics import choose_threshold, predictive_values, threshold_metrics
from cxr_tutorial.statistics.delong import auroc_delong

HARD = "Bacteria or virus?"


def youden(labels, probability, threshold) -> float:
    rates = threshold_metrics(labels, probability, threshold)
    return rates["sensitivity"] + rates["specificity"] - 1


def told(d, kind, task, train) -> np.ndarray:
    "Probabilities for all images, of a model of some of them."
    x = d.plain(kind)
    return logistic().fit(x[train], task.labels[train]).predict_proba(x)[:, 1]


def thresholds(d, kind, seed, task):
    y = task.labels
    rows, rest = draw(d.first(task), y, (140, 140), seed)
    said, small = told(d, kind, task, rows[:200]), (rows[200:240], rows[240:])
    row = {}
    for way, chosen in (("wrong", small[1]), ("right", small[0])):
        limit = choose_threshold(y[chosen], said[chosen])
        row[way] = youden(y[small[1]], said[small[1]], limit)
        row[f"{way}_true"] = youden(y[rest], said[rest], limit)
    return row


@question(
    "threshold-on-test",
    "40 children for the threshold",
    f"{HARD} A model of 200 children, 40 for validation, 40 for the test. The threshold with the "
    "largest Youden's index is chosen on the test (wrong) or on validation (right).",
    "Smaller with more test children.",
    measure="Youden's index",
)
def threshold_on_test(d, kind, seed):
    return thresholds(d, kind, seed, d.hard)


@question(
    "threshold-on-test",
    "the same, normal or not",
    "Normal or pneumonia? As above.",
    "Smaller with more test children.",
    measure="Youden's index",
)
def threshold_on_test_easy(d, kind, seed):
    return thresholds(d, kind, seed, d.easy)


@question(
    "test-set-peeking",
    "the best of twenty models",
    f"{HARD} Twenty models of 160 children, each of eight columns drawn at random. The best on 80 "
    "test children (wrong) or on 80 others (right) is reported, with its AUROC in the test.",
    "Larger with more models and fewer test children.",
)
def peeking(d, kind, seed):
    x, y = d.plain(kind), d.hard.labels
    rows, rest = draw(d.first(d.hard), y, (160, 160), seed)
    parts, table = (rows[160:240], rows[240:], rest), []
    for number in range(20):
        few = np.random.default_rng([seed, number]).choice(x.shape[1], 8, replace=False)
        score = logistic(0.1).fit(x[rows[:160]][:, few], y[rows[:160]]).decision_function(x[:, few])
        table.append([auroc(y[part], score[part]) for part in parts])
    val, test, true = np.array(table).T
    w, r = test.argmax(), val.argmax()
    return {"wrong": test[w], "wrong_true": true[w], "right": test[r], "right_true": true[r]}


@question(
    "ignored-prevalence",
    "half in the study, one in twenty outside",
    f"{HARD} A balanced study of 200 children, 100 more for the test: the predictive value of "
    "'bacteria' as measured (wrong), or computed for 5 % (right). The truth: all other children, "
    "thinned out until 5 % have bacteria.",
    "The rarer the disease outside, the larger.",
    measure="positive predictive value",
)
def prevalence(d, kind, seed):
    y = d.hard.labels
    rows, rest = draw(d.first(d.hard), y, (150, 150), seed)
    train, test = cut(rows, y, 1 / 3, seed)
    said = told(d, kind, d.hard, train)
    rates = threshold_metrics(y[test], said[test], 0.5)
    well, ill = rest[y[rest] == 0], rest[y[rest] == 1]
    few = np.random.default_rng(seed).choice(ill, len(well) // 19, replace=False)
    there = np.concatenate([well, few])
    true = threshold_metrics(y[there], said[there], 0.5)["ppv"]
    right = predictive_values(rates["sensitivity"], rates["specificity"], 0.05)["ppv"]
    return {"wrong": rates["ppv"], "wrong_true": true, "right": right, "right_true": true}


def clarity(d, kind, y, seed, rest) -> np.ndarray:
    "How sure a model of other children is of each image's label, by the other kind of input."
    other = {"thumbnails": "features", "features": "thumbnails"}[kind]
    some = np.random.default_rng([seed, 11]).permutation(rest)[:600]
    p = logistic().fit(d.plain(other)[some], y[some]).predict_proba(d.plain(other))[:, 1]
    return np.where(y == 1, p, 1 - p)


@question(
    "extremes-only",
    "the clearer half of each class",
    f"{HARD} How ill a child was is not known. So 'clear' is what another model, of 600 other "
    "children and from the other input, is sure of. The test: the clearer half of each class "
    "(wrong) or all 120 (right); a model of 200 children.",
    "A stand-in for severity: two models err on the same images, so this is more than a reader's "
    "choice would do. It is large wherever the test leaves out what is doubtful.",
)
def extremes(d, kind, seed):
    x, y = d.plain(kind), d.hard.labels
    rows, rest = draw(d.first(d.hard), y, (160, 160), seed)
    train, test = cut(rows, y, 120, seed)
    sure = clarity(d, kind, y, seed, rest)
    clear = [test[y[test] == k] for k in (0, 1)]
    clear = np.concatenate([part[np.argsort(-sure[part])][:30] for part in clear])
    score = logistic().fit(x[train], y[train]).decision_function(x)
    true = auroc(y[rest], score[rest])
    return {
        "wrong": auroc(y[clear], score[clear]),
        "wrong_true": true,
        "right": auroc(y[test], score[test]),
        "right_true": true,
    }


@question(
    "accuracy-only",
    "6 in 100 have bacteria",
    f"{HARD} 400 children, 24 of them with bacteria; half learn, half are the test. The accuracy "
    "(wrong), or the share of the children with bacteria who are found (right).",
    "The rarer the disease, the better the accuracy of a model that finds nobody.",
    measure="accuracy, and share of cases found",
)
def accuracy_only(d, kind, seed):
    y = d.hard.labels
    rows, rest = draw(d.first(d.hard), y, (376, 24), seed)
    train, test = cut(rows, y, 0.5, seed)
    alarm, ill = told(d, kind, d.hard, train) >= 0.5, rest[y[rest] == 1]
    found = alarm[ill].mean()
    right = alarm[test][y[test] == 1].mean()
    accuracy = (alarm[test] == y[test]).mean()
    return {"wrong": accuracy, "wrong_true": found, "right": right, "right_true": found}


@lru_cache(500)
def interval_study(d, kind, seed):
    "Two intervals (by image, by patient) of 60 children with two images or more, and the truth."
    x, y, size = d.plain(kind), d.hard.labels, np.bincount(d.patient)[d.patient]
    several = d.hard.rows[size[d.hard.rows] >= 2]
    single = d.first(d.hard)
    train, _ = draw(single[size[single] == 1], y, (150, 150), seed)
    score = logistic().fit(x[train], y[train]).decision_function(x)
    first = several[np.unique(d.patient[several], return_index=True)[1]]
    chosen, _ = draw(first, y, (20, 40), seed)
    test = several[np.isin(d.patient[several], d.patient[chosen])]
    by = [auroc_delong(y[test], score[test], p) for p in (None, d.patient[test])]
    return by, auroc(y[several], score[several])


@question(
    "ignored-uncertainty",
    "does the interval hold the truth?",
    f"{HARD} A study of 60 children with two images or more each: does the 95 % interval hold the "
    "AUROC of all such children? Intervals by image (wrong) or by patient (right).",
    "Larger with more images of each child; where everybody has one image, both are the same.",
    measure="share of studies whose interval holds the truth",
    draws=200,
)
def coverage(d, kind, seed):
    by, true = interval_study(d, kind, seed)
    holds = [float(one["low"] <= true <= one["high"]) for one in by]
    return {"wrong": holds[0], "right": holds[1]}


@question(
    "ignored-uncertainty",
    "width of the interval",
    f"{HARD} The same studies: how wide are the intervals?",
    "Narrower by image, and wrongly so.",
    measure="width of the 95 % interval",
    draws=200,
)
def width(d, kind, seed):
    by, _ = interval_study(d, kind, seed)
    return dict(zip(("wrong", "right"), [one["high"] - one["low"] for one in by], strict=True))


@question(
    "moved-threshold",
    "a second version, another mixture",
    f"{HARD} A threshold that finds 90 % of the bacterial among 200 validation children, for a "
    "first model (200 children, half with bacteria), kept (wrong) or chosen again (right) for a "
    "second model (200 children, one in four). All other children tell; 0.90 was "
    "promised.",
    "As large as the two versions differ in what they say to everybody.",
    measure="sensitivity",
)
def moved_threshold(d, kind, seed):
    y, rest, versions = d.hard.labels, d.first(d.hard), []
    for number, counts in enumerate([(100, 100), (150, 50), (100, 100)]):
        rows, rest = draw(rest, y, counts, 10 * seed + number)
        versions.append(rows)
    first, second = (told(d, kind, d.hard, rows) for rows in versions[:2])
    val, ill, row = versions[2], rest[y[rest] == 1], {}
    for way, said in (("wrong", first), ("right", second)):
        limit = choose_threshold(y[val], said[val], policy="sensitivity", at_least=0.9)
        row[way] = (second[ill] >= limit).mean()
    return row


@question(
    "double-balancing",
    "sampler and weight, 6 in 100",
    f"{HARD} 400 children, 24 of them with bacteria. Drawn in balance and weighted (wrong), or "
    "drawn in balance (right): the share of all other children with virus who are called "
    "bacterial at 0.5.",
    "Smaller on the easy question: 13 % against 3 % (normal or not).",
    measure="share of false alarms",
)
def double_balancing(d, kind, seed):
    x, y = d.plain(kind), d.hard.labels
    rows, rest = draw(d.first(d.hard), y, (376, 24), seed)
    chance = 0.5 / np.bincount(y[rows])[y[rows]]
    drawn = np.random.default_rng(seed).choice(rows, len(rows), p=chance)
    well, row = rest[y[rest] == 0], {}
    for way, weight in (("wrong", 376 / 24), ("right", 1.0)):
        model = LogisticRegression(C=1e-3, max_iter=2000, class_weight={0: 1.0, 1: weight})
        model = make_pipeline(StandardScaler(), model).fit(x[drawn], y[drawn])
        row[way] = (model.predict_proba(x[well])[:, 1] >= 0.5).mean()
    return row


@question(
    "uncertain-as-negative",
    "half of the bacterial made uncertain",
    f"{HARD} 600 children, half with bacteria. No label of this set is uncertain, so half of the "
    "bacterial and one in ten of the viral are made so: those of which another model is least "
    "sure (other children, other input). Read as negative (wrong) or, since most are positive, "
    "as positive (right). Sensitivity at 0.5, in the test and in truth among all others.",
    "Where most uncertain images are negative, the other policy is right.",
    measure="sensitivity",
)
def uncertain(d, kind, seed):
    x, y = d.plain(kind), d.hard.labels
    rows, rest = draw(d.first(d.hard), y, (300, 300), seed)
    sure, doubtful = clarity(d, kind, y, seed, rest), np.zeros(len(y), bool)
    for label, share in ((0, 0.1), (1, 0.5)):
        own = rows[y[rows] == label]
        doubtful[own[np.argsort(sure[own])][: round(share * len(own))]] = True
    train, test = cut(rows, y, 0.5, seed)
    ill, row = rest[y[rest] == 1], {}
    for way, label in (("wrong", 0), ("right", 1)):
        filed = np.where(doubtful, label, y)
        alarm = logistic().fit(x[train], filed[train]).predict_proba(x)[:, 1] >= 0.5
        row[way], row[f"{way}_true"] = alarm[test][filed[test] == 1].mean(), alarm[ill].mean()
    return row


@question(
    "best-fold-reporting",
    "ten folds of 200 children",
    f"{HARD} 200 children in ten folds: the best fold (wrong), or the mean (right). The truth: a "
    "model of all 200, on all other children.",
    "Larger with more and smaller folds. Normal or not: 0.997, 0.971, true 0.972.",
)
def best_fold(d, kind, seed):
    x, y = d.plain(kind), d.hard.labels
    rows, rest = draw(d.first(d.hard), y, (100, 100), seed)
    folds = StratifiedKFold(10, shuffle=True, random_state=seed)
    said = cross_val_score(logistic(), x[rows], y[rows], cv=folds, scoring="roc_auc")
    true = auroc(y[rest], logistic().fit(x[rows], y[rows]).decision_function(x[rest]))
    return {"wrong": said.max(), "wrong_true": true, "right": said.mean(), "right_true": true}


def fold_score(x, y, folds) -> float:
    "Mean AUROC over folds of a linear classifier by least squares (Fisher's discriminant)."
    values, with_one = [], np.column_stack([x, np.ones(len(x))])
    for train, test in folds:
        weights = np.linalg.lstsq(with_one[train], y[train], rcond=None)[0]
        values.append(auroc(y[test], with_one[test] @ weights))
    return float(np.mean(values))


@question(
    "tuning-without-nesting",
    "the best of 25 settings, labels tossed",
    "60 children with coin tosses for labels. A setting is ten columns drawn at random; of 25, "
    "the best score of a three-fold search is reported (wrong), or the score of the search in a "
    "cross-validation around it (right).",
    "Larger with more settings and fewer children.",
    draws=60,
)
def tuning(d, kind, seed):
    x = d.plain(kind)[np.random.default_rng([seed, 7]).permutation(d.first(d.easy))[:60]]
    y = np.random.default_rng(seed).permutation(np.arange(60) % 2)
    sets = [np.random.default_rng(k).choice(x.shape[1], 10, replace=False) for k in range(25)]
    cut_up = StratifiedKFold(3, shuffle=True, random_state=seed)

    def score(chosen, rows):
        return fold_score(x[rows][:, chosen], y[rows], cut_up.split(x[rows], y[rows]))

    nested = []
    for train, test in cut_up.split(x, y):
        best = sets[int(np.argmax([score(chosen, train) for chosen in sets]))]
        nested.append(fold_score(x[:, best], y, [(train, test)]))
    wrong = max(score(chosen, np.arange(60)) for chosen in sets)
    return {"wrong": wrong, "wrong_true": 0.5, "right": np.mean(nested), "right_true": 0.5}
