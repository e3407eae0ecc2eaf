"Questions to real X-rays: splits and leaks (chapters 00 to 05)."

from io import BytesIO

import numpy as np
from PIL import Image
from real_data import (
    auroc,
    by_child,
    cut,
    draw,
    fine_tuned,
    logistic,
    machine,
    scored,
)
from real_record import question
from sklearn.decomposition import PCA
from sklearn.feature_selection import SelectKBest, f_classif
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupShuffleSplit, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

HARD = "Bacteria or virus?"


def taught(model, x, y, train):
    "How a model that learned from training rows scores others."
    return model.fit(x[train], y[train]).decision_function


@question(
    "unseeded-run",
    "the split is drawn anew",
    f"{HARD} 160 children, a quarter of them for the test. The same script runs twice; the wrong "
    "way seeds only the training, so that the second run tests other children. How many points "
    "of accuracy lie between the two runs?",
    "Larger with fewer test children; smaller with thousands.",
    measure="points of accuracy between two runs",
)
def unseeded(d, kind, seed):
    x, y = d.plain(kind), d.hard.labels
    rows, _ = draw(d.first(d.hard), y, (80, 80), seed)

    def run(split):
        train, test = cut(rows, y, 0.25, split)
        return (logistic().fit(x[train], y[train]).predict(x[test]) == y[test]).mean()

    first = run(2 * seed)
    return {
        "wrong": 100 * abs(first - run(2 * seed + 1)),
        "right": 100 * abs(first - run(2 * seed)),
    }


def negative(image, row) -> np.ndarray:
    "An image as a machine stores it that writes MONOCHROME1."
    return 255 - image


@question(
    "raw-dicom-values",
    "half of the images stored as negatives",
    f"{HARD} 200 children learn, 600 others tell. The stored values of this set are gone, so half "
    "of the images, at random, are turned into what a machine stores that writes MONOCHROME1. The "
    "wrong way takes the stored values, the right way what the header says.",
    "Far larger where one hospital's machine stores negatives and that hospital sends the ill.",
)
def raw_values(d, kind, seed):
    y, x = d.hard.labels, d.plain(kind)
    rows, rest = draw(d.some, y, (100, 100), seed)
    rest = np.random.default_rng(seed).permutation(rest)[:600]
    turned = np.random.default_rng([seed, 1]).random(len(x)) < 0.5
    stored = np.where(turned[:, None], d.altered(kind, "negative", negative), x)
    wrong = scored(taught(logistic(), stored, y, rows), stored, y, wrong=rest)
    return wrong | scored(taught(logistic(), x, y, rows), x, y, right=rest)


@question(
    "raw-dicom-values",
    "the machine tied to the class",
    f"{HARD} As above, but nine in ten of the children with bacteria come from that machine, and "
    "one in ten of those with virus: 240 children, 40 % of them for the test. The truth: 600 "
    "others, of whom half come from each machine.",
    "As large as the machine is tied to the disease.",
)
def raw_values_tied(d, kind, seed):
    y, x = d.hard.labels, d.plain(kind)
    rows, rest = draw(d.some, y, (120, 120), seed)
    rest, rng = np.random.default_rng(seed).permutation(rest)[:600], np.random.default_rng(seed)
    tied = np.where(np.isin(np.arange(len(x)), rest), 0.5, np.where(y == 1, 0.9, 0.1))
    turned = (rng.random(len(x)) < tied)[:, None]
    train, test = cut(rows, y, 0.4, seed)
    row = {}
    for way, z in (
        ("wrong", np.where(turned, d.altered(kind, "negative", negative), x)),
        ("right", x),
    ):
        say = taught(logistic(), z, y, train)
        row |= scored(say, z, y, **{way: test, f"{way}_true": rest})
    return row


@question(
    "image-level-leakage",
    "children with three images or more",
    f"{HARD} Only children with three images or more; 40 % of them are set aside and tell what is "
    "true. Of the others, 30 % of the images (wrong) or of the children (right) are the test.",
    "Next to nothing on the easy question (normal or not: 0.998 and 0.997, from thumbnails), "
    "where nothing is gained from knowing the child.",
)
def image_level(d, kind, seed):
    x, y = d.plain(kind), d.hard.labels
    size = np.bincount(d.patient)[d.patient]
    known, fresh = by_child(d, d.hard, d.hard.rows[size[d.hard.rows] >= 3], 0.4, seed)
    ways = {"wrong": cut(known, y, 0.3, seed), "right": by_child(d, d.hard, known, 0.3, seed)}
    row = {}
    for way, (train, test) in ways.items():
        say = taught(machine(), x, y, train)
        row |= scored(say, x, y, **{way: test, f"{way}_true": fresh})
    return row


@question(
    "image-level-leakage",
    "the same, a fine-tuned network",
    "As above, with EfficientNet-Lite0 fine-tuned as a whole (64 pixels, five epochs); 75 % of the "
    "children are set aside.",
    "Larger with more epochs and more images of each child.",
    draws=20,
    inputs=("network",),
)
def image_level_network(d, kind, seed):
    y, size = d.hard.labels, np.bincount(d.patient)[d.patient]
    known, fresh = by_child(d, d.hard, d.hard.rows[size[d.hard.rows] >= 3], 0.75, seed)
    fresh = np.random.default_rng(seed).permutation(fresh)[:200]
    ways = {"wrong": cut(known, y, 0.3, seed), "right": by_child(d, d.hard, known, 0.3, seed)}
    row = {}
    for way, (train, test) in ways.items():
        say = fine_tuned(d.images[train], y[train], seed, epochs=5)
        row |= scored(say, d.images, y, **{way: test, f"{way}_true": fresh})
    return row


@question(
    "image-level-leakage",
    "coin tosses instead of labels",
    "As above, but each child has a coin toss for a label: a model can only remember.",
    "How many images of a child there are decides how much can be remembered.",
)
def probe(d, kind, seed):
    x, rng = d.plain(kind), np.random.default_rng([seed, 3])
    rows = np.flatnonzero(np.bincount(d.patient)[d.patient] >= 3)
    tosses = rng.integers(0, 2, d.patient.max() + 1)[d.patient]
    held = np.isin(d.patient[rows], rng.permutation(np.unique(d.patient[rows]))[:104])
    row = {"wrong_true": 0.5, "right_true": 0.5}
    for way, (train, test) in (
        ("wrong", cut(rows, tosses, 0.3, seed)),
        ("right", (rows[~held], rows[held])),
    ):
        row |= scored(taught(machine(), x, tosses, train), x, tosses, **{way: test})
    return row


@question(
    "duplicate-images",
    "copies under another name put in",
    f"{HARD} 200 children with one image each; half of the images are there a second time, under "
    "another name. Wrong: split by name. Right: by group (whoever shares an image stays together). "
    "All other children tell what is true.",
    "This set itself has 24 images more than once, none of them under two names: nothing is lost "
    "there. The more copies, the larger.",
)
def copies(d, kind, seed):
    x, y = d.plain(kind), d.hard.labels
    rows, rest = draw(d.first(d.hard), y, (100, 100), seed)
    every = np.concatenate([rows, rows[:100]])  # rows are in random order
    row = {}
    for way, groups in (("wrong", np.arange(len(every))), ("right", every)):
        splitter = GroupShuffleSplit(1, test_size=0.3, random_state=seed)
        train, test = next(splitter.split(every, groups=groups))
        say = taught(machine(), x, y, every[train])
        row |= scored(say, x, y, **{way: every[test], f"{way}_true": rest})
    return row


@question(
    "oversample-before-split",
    "30 rare among 150",
    f"{HARD} 150 children with bacteria and 30 with virus; the images of the 30 are there four "
    "times, from before the split (wrong) or in the training part only (right).",
    "Smaller on the easy question (normal or not: 1.00 and 0.97), where the right way has not "
    "much left to lose.",
)
def oversampling(d, kind, seed):
    x, y = d.plain(kind), 1 - d.hard.labels  # the rare class is positive
    rows, rest = draw(d.first(d.hard), y, (150, 30), seed)
    repeated = lambda some: np.concatenate([some, np.tile(some[y[some] == 1], 3)])
    row = {}
    for way, source in (("wrong", repeated(rows)), ("right", rows)):
        train, test = cut(source, y, 0.4, seed)
        train = train if way == "wrong" else repeated(train)
        say = taught(machine(), x, y, train)
        row |= scored(say, x, y, **{way: test, f"{way}_true": rest})
    return row


@question(
    "preprocessing-before-split",
    "twenty columns chosen, labels tossed",
    "80 children with coin tosses for labels. The twenty columns that go best with the labels are "
    "chosen on all children (wrong) or within each training part of four folds (right).",
    "Larger with more columns and fewer children.",
    draws=100,
)
def preprocessing(d, kind, seed):
    rows = np.random.default_rng([seed, 7]).permutation(d.first(d.easy))[:80]
    x, labels = d.plain(kind)[rows], np.random.default_rng(seed).permutation(np.arange(80) % 2)
    model = [StandardScaler(), LogisticRegression(C=0.1)]
    score = lambda steps, some: cross_val_score(
        make_pipeline(*steps), some, labels, cv=4, scoring="roc_auc"
    ).mean()
    chosen = SelectKBest(f_classif, k=20)
    return {
        "wrong": score(model, chosen.fit_transform(x, labels)),
        "wrong_true": 0.5,
        "right": score([SelectKBest(f_classif, k=20), *model], x),
        "right_true": 0.5,
    }


def file_sizes(d, quality: int) -> np.ndarray:
    "Bytes of the first image of each child with pneumonia, saved as JPEG of a quality."

    def make():
        sizes = np.zeros(len(d.cohort))
        for row in d.first(d.hard):
            buffer = BytesIO()
            Image.fromarray(d.images[row]).save(buffer, "JPEG", quality=quality)
            sizes[row] = buffer.getbuffer().nbytes
        return sizes

    return d.array(f"bytes-{quality}", make)


def with_column(x, y, here, there, parts):
    "PCA of 12 and a column, or none: AUROC as reported, and where the column says `there`."
    train, test, rest = parts
    summary = make_pipeline(StandardScaler(), PCA(12, whiten=True, random_state=0)).fit(x[train])
    known = lambda rows, column: np.column_stack([summary.transform(x[rows]), column[rows]])
    model = make_pipeline(StandardScaler(), LogisticRegression())
    model.fit(known(train, here), y[train])
    said = auroc(y[test], model.decision_function(known(test, here)))
    return said, auroc(y[rest], model.decision_function(known(rest, there)))


@question(
    "metadata-leakage",
    "compression tied to the class",
    f"{HARD} 240 children; the images of nine in ten with bacteria, and of one in ten with virus, "
    "are saved with JPEG quality 60, the others with 90. The wrong way adds the size of the file. "
    "The truth: all other children, saved alike.",
    "The real files of this set share one table, so their size (AUROC 0.90 for pneumonia) follows "
    "from the pixels: no column here is known to leak, and this one was put in.",
)
def metadata(d, kind, seed):
    x, y = d.plain(kind), d.hard.labels
    rows, rest = draw(d.first(d.hard), y, (120, 120), seed)
    small, large = (np.log(np.maximum(file_sizes(d, q), 1)) for q in (60, 90))
    tied = np.random.default_rng([seed, 2]).random(len(x)) < np.where(y == 1, 0.9, 0.1)
    here, nothing = np.where(tied, small, large), np.zeros(len(x))
    parts = (*cut(rows, y, 0.4, seed), rest)
    wrong, right = with_column(x, y, here, large, parts), with_column(x, y, nothing, nothing, parts)
    return dict(zip(("wrong", "wrong_true", "right", "right_true"), (*wrong, *right), strict=True))


def number_of_images(d) -> np.ndarray:
    return np.log(np.bincount(d.patient)[d.patient])


def first_visit(d, kind, seed, task):
    x, y = d.plain(kind), task.labels
    rows, rest = draw(d.first(task), y, (120, 120), seed)
    nothing = np.zeros(len(x))  # log 1: at the first visit everybody has one image
    parts = (*cut(rows, y, 0.4, seed), rest)
    wrong = with_column(x, y, number_of_images(d), nothing, parts)
    right = with_column(x, y, nothing, nothing, parts)
    return dict(zip(("wrong", "wrong_true", "right", "right_true"), (*wrong, *right), strict=True))


@question(
    "temporal-leakage",
    "how many images there will be",
    f"{HARD} 240 children, the first image of each, and how many images the child has in the end "
    "(wrong). The truth: all other children on the first day, when everybody has one.",
    "Small here: bacteria have 1.87 images each, viruses 1.23, and half of the children have one. "
    "Large where the ill come back and the others do not, as in the chapter.",
)
def temporal(d, kind, seed):
    return first_visit(d, kind, seed, d.hard)


@question(
    "temporal-leakage",
    "the same, normal or not",
    "Normal or pneumonia? As above; children with pneumonia have 1.59 images each, others 1.11.",
    "The image alone answers this question, so a column can add nothing.",
)
def temporal_easy(d, kind, seed):
    return first_visit(d, kind, seed, d.easy)
