"""Facts about the real X-rays that chapters mention in their text.

    python benchmarks/real_facts.py path/to/chest_xray/train [--only NAME ...]

`real_pitfalls.py` asks each pitfall's question in many draws of few children. This script holds
what the text says beside it: the easy question, large training sets, other inputs, and what is in
the set (patients, copies, file sizes). Means over several seeds; intervals from drawing patients
with replacement. Asserts nothing: small effects are printed as they are.
"""

import argparse
import json
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from cleanlab.filter import find_label_issues
from PIL import Image
from real_data import (
    Figure,
    auroc,
    aurocs,
    backbone,
    by_patient,
    epochs_of,
    features,
    in_range,
    log_loss,
    logistic,
    logits,
    machine,
    new_head,
    other_stem,
    others,
    rank,
    read_real,
    share,
    some_patients,
)
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.feature_selection import SelectKBest, f_classif
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    StratifiedGroupKFold,
    StratifiedKFold,
    cross_val_score,
    train_test_split,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from cxr_tutorial.calibration import fit_temperature
from cxr_tutorial.leakage import permuted_label_probe
from cxr_tutorial.metrics import choose_threshold, predictive_values, threshold_metrics
from cxr_tutorial.models import (
    MedicalImageClassifier,
    unfreeze,
)
from cxr_tutorial.splits import leakage_report, split_by_patient

SEEDS = range(10)


def say(text: str) -> None:
    print("    " + text, flush=True)


def counts(d):
    "Patients, images per patient, and how far the number of images alone tells the label."
    table = d.cohort.assign(kind=d.cohort.subtype.fillna("normal"))
    patients = table.groupby("patient_id").agg(kind=("kind", "first"), images=("path", "size"))
    for kind, part in patients.groupby("kind").images:
        say(f"{kind}: {part.sum()} images of {len(part)} patients, {part.mean():.3f} each,")
        say(f"  most {part.max()}, {(part >= 3).sum()} patients with 3 or more")
    ill = patients[patients.kind != "normal"].images
    return (
        f"{len(table)} images of {len(patients)} patients: {len(ill)} positive with "
        f"{ill.mean():.2f} images each, {len(patients) - len(ill)} negative with "
        f"{patients.images[patients.kind == 'normal'].mean():.2f}"
    )


def leak(d, task, inputs, make, least: int = 3, seeds=SEEDS) -> dict[str, Figure]:
    "AUROC as reported and on fresh patients, for a split by image and one by patient."
    size, labels = np.bincount(d.patient)[d.patient], task.labels
    rows = task.rows[size[task.rows] >= least]
    found = {k: Figure(d) for k in ("image", "image true", "patient", "patient true")}
    for seed in seeds:
        known, fresh = by_patient(d, task, rows, 0.4, seed)
        splits = {
            "image": train_test_split(known, test_size=0.3, random_state=seed),
            "patient": by_patient(d, task, known, 0.3, seed),
        }
        for kind, (train, test) in splits.items():
            model = make().fit(inputs[train], labels[train])
            for name, part in ((kind, test), (f"{kind} true", fresh)):
                scores = model.decision_function(inputs[part])
                found[name].add(part, rank(labels[part], scores))
    return found


def image_level_leakage(d):
    "Two questions, two kinds of input; children with three images or more."
    ways = {
        "thumbnails, support vector machine": (d.pixels, machine),
        "features, logistic regression (C=0.001)": (d.x, logistic),
        "features, logistic regression (C=1)": (d.x, lambda: logistic(1.0)),
        "features, support vector machine": (d.x, machine),
    }
    tables = {}
    for task, least in ((d.hard, 3), (d.easy, 3), (d.hard, 1), (d.easy, 1)):
        for name, (inputs, make) in ways.items():
            if least == 1 and "C=" in name:
                continue
            found = leak(d, task, inputs, make, least, SEEDS if least == 3 else range(5))
            tables[task.name, least, name] = found
            say(f"{task.name}, {least} or more images, {name}:")
            for part, figure in found.items():
                say(f"  {part}: {figure.long()}")
            say(f"  image - true: {found['image'].minus(found['image true'])}")
            say(f"  image - patient: {found['image'].minus(found['patient'])}")
    m = tables[d.hard.name, 3, "thumbnails, support vector machine"]
    e = tables[d.easy.name, 3, "thumbnails, support vector machine"]
    truth = f"{m['patient true'].mean:.3f} on fresh patients (bacteria against virus)"
    easy = f"normal or not: {e['image'].mean:.3f}, {e['patient'].mean:.3f}"
    return f"AUROC {m['image']}", f"{m['patient']}", f"{truth}; {easy}"


def encoded(image: np.ndarray, table: list) -> int:
    "Bytes of a grey image as JPEG with a given quantisation table."
    buffer = BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, "JPEG", qtables={0: table})
    return buffer.getbuffer().nbytes


BOXES = {  # rows and columns, along the blocks of 16 pixels of the files
    "trunk (160 x 160)": (32, 192, 32, 192),
    "middle (128 x 128)": (48, 176, 48, 176),
    "spine and mediastinum, hardly any lung (160 x 32)": (32, 192, 96, 128),
}


def file_size(d):
    "Which part of an image makes its file small? Encoded again with the files' own table."
    opened = [Image.open(path).quantization for path in d.cohort.path]
    tables = {tuple(map(tuple, q.values())) for q in opened}
    (table, _), y, every = next(iter(tables)), d.easy.labels, np.arange(len(d.cohort))
    figure = lambda size: Figure(d).add(every, rank(y, -np.asarray(size, float)))
    whole = np.array([encoded(image, table) for image in d.images])
    say(f"{len(tables)} quantisation table(s); file: {figure(d.cohort.bytes)}")
    say(f"r of file and encoded again: {np.corrcoef(whole, d.cohort.bytes)[0, 1]:.4f}")
    say(f"encoded again, grey: {figure(whole)}")
    ill = d.hard.rows
    bacteria = Figure(d).add(ill, rank(d.hard.labels[ill], -d.cohort.bytes.to_numpy()[ill]))
    say(f"bacteria against virus: {bacteria}")
    lines = []
    for name, (top, bottom, left, right) in BOXES.items():
        painted = d.images.copy()
        painted[:, top:bottom, left:right] = 128
        inside = np.array([encoded(i[top:bottom, left:right], table) for i in d.images])
        outside = np.array([encoded(i, table) for i in painted])
        fit = np.corrcoef(inside + outside, whole)[0, 1]
        say(f"{name}: {figure(inside)}, without it {figure(outside)}, r of the sum {fit:.5f}")
        lines.append(f"{name} {figure(inside).mean:.3f}, without it {figure(outside).mean:.3f}")
    return f"{len(tables)} quantisation table; bytes alone, AUROC: " + "; ".join(lines)


def size_alone(d):
    "The row of the table: the size of the file is no leak here, but tells the label."
    size = Figure(d).add(d.easy.rows, rank(d.easy.labels, -d.cohort.bytes.to_numpy()))
    return f"file size alone: AUROC {size}", "-", "it follows from the pixels: one table for all"


def duplicates(d):
    "Are there copies under two patients?"
    c = d.cohort
    copies = c[c.duplicated("image_hash", keep=False)]
    shared = leakage_report(split_by_patient(c.drop(columns="group_id")))
    both = shared.query("shared == 'identical images'")["count"].sum()
    strangers = copies.groupby("image_hash").patient_id.nunique().gt(1).sum()
    truth = f"{copies.image_hash.nunique()} images are there more than once"
    truth += f", {strangers} of them under two patients"
    return f"{both} images on both sides when split by patient_id", "0 by group_id", truth


def oversampling(d):
    "150 normal and 30 positive children, or 150 and 30 with virus and bacteria; copies of the few."
    texts = {}
    for task in (d.easy, d.hard):
        y, found = task.labels, {"wrong": Figure(d), "right": Figure(d)}
        for seed in SEEDS:
            rows = some_patients(d, task, 2400, seed, one_each=True)
            rows = np.random.default_rng(seed).permutation(rows)
            rows = np.concatenate([rows[y[rows] == 0][:150], rows[y[rows] == 1][:30]])
            for kind, figure in found.items():
                source = repeated(rows, y) if kind == "wrong" else rows
                options = dict(test_size=0.4, stratify=y[source], random_state=seed)
                train, test = train_test_split(source, **options)
                model = machine().fit(*pair(d, y, train if kind == "wrong" else repeated(train, y)))
                figure.add(test, rank(y[test], model.decision_function(d.pixels[test])))
        say(f"{task.name}: wrong {found['wrong'].long()}, right {found['right'].long()}")
        say(f"  {found['wrong'].minus(found['right'])}")
        texts[task.name] = found
    e, h = texts[d.easy.name], texts[d.hard.name]
    truth = f"the same images and model; bacteria against virus {h['wrong']} and {h['right']}"
    return f"AUROC {e['wrong']}", f"{e['right']}", truth


def repeated(rows, y):
    "The positive rows three times more."
    return np.concatenate([rows, np.tile(rows[y[rows] == 1], 3)])


def pair(d, y, rows):
    return d.pixels[rows], y[rows]


def preprocessing(d):
    "80 children with coin tosses for labels; 20 of 576 pixels are chosen outside or inside."
    wrong, right = [], []
    inside = make_pipeline(
        SelectKBest(f_classif, k=20), StandardScaler(), LogisticRegression(C=0.1)
    )
    score = lambda model, x, y: cross_val_score(model, x, y, cv=4, scoring="roc_auc").mean()
    for seed in range(20):
        x = d.pixels[some_patients(d, d.easy, 80, seed, one_each=True)]
        labels = np.random.default_rng(seed).permutation(np.arange(80) % 2)
        chosen = SelectKBest(f_classif, k=20).fit_transform(x, labels)
        wrong.append(score(inside[1:], chosen, labels))
        right.append(score(inside, x, labels))
    say(f"wrong {spread(wrong)}, right {spread(right)}")
    return f"AUROC {np.mean(wrong):.2f}", f"{np.mean(right):.2f}", "0.50: coin tosses (20 draws)"


def spread(values) -> str:
    error = np.std(values, ddof=1) / np.sqrt(len(values))
    return f"{np.mean(values):.3f} (SD {np.std(values, ddof=1):.3f}, standard error {error:.3f})"


def temporal(d):
    "How far does the number of images, which nobody knows at the first visit, tell the label?"
    first = np.unique(d.patient, return_index=True)[1]
    images = np.bincount(d.patient)
    found = Figure(d).add(first, rank(d.easy.labels[first], images))
    ill = first[d.easy.labels[first] == 1]
    kind = Figure(d).add(ill, rank(d.hard.labels[ill], images[d.patient[ill]]))
    say(f"number of images: pneumonia {found}, bacteria against virus {kind}")
    truth = "at the first visit everybody has one image: 0.50"
    return f"number of images alone: AUROC {found}", "-", truth


def flipping(d):
    "With and without flips in training; and can the side be seen at all?"
    lines = []
    for task in (d.easy, d.hard):
        y, both, plain = task.labels, Figure(d), Figure(d)
        for seed in range(5):
            train, test = by_patient(d, task, task.rows, 0.3, seed)
            flipped = np.vstack([d.x[train], d.mirrored[train]])
            model = logistic().fit(flipped, np.tile(y[train], 2))
            both.add(test, rank(y[test], model.decision_function(d.x[test])))
            model = logistic().fit(d.x[train], y[train])
            plain.add(test, rank(y[test], model.decision_function(d.x[test])))
        say(f"{task.name}: flips {both.long()}, none {plain.long()}, {both.minus(plain)}")
        lines.append((both, plain))
    thumbnails = d.pixels.reshape(-1, 24, 24)[..., ::-1].reshape(d.pixels.shape)
    side = mirrored_or_not(d, d.pixels, thumbnails)
    say(f"mirrored or not, features: {mirrored_or_not(d, d.x, d.mirrored).long()}")
    say(f"mirrored or not, thumbnails: {side.long()}")
    (b, p), (bh, ph) = lines
    truth = f"bacteria against virus {bh.mean:.3f} and {ph.mean:.3f}; "
    truth += f"mirrored or not, from thumbnails, {side}"
    return f"AUROC of pneumonia {b} with flips", f"{p} without", truth


def mirrored_or_not(d, x, mirrored) -> Figure:
    "Can an image be told from its mirror image? On other patients."
    side = Figure(d)
    for seed in range(5):
        rows = some_patients(d, d.easy, 1000, seed, one_each=True)
        train, test = by_patient(d, d.easy, rows, 0.5, seed)
        both = lambda part: np.vstack([x[part], mirrored[part]])
        answer = lambda part: np.repeat([0, 1], len(part))
        model = logistic().fit(both(train), answer(train))
        scores = model.decision_function(both(test))
        side.add(np.tile(test, 2), rank(answer(test), scores))
    return side


def moved_network(d, train, rows):
    "Let the statistics follow the training images. Features on the way, and of all afterwards."
    model = unfreeze(MedicalImageClassifier(size=224), update_bn_stats=True)
    network = model.backbone.train()
    on_the_way = features(network, d.images[train])
    return np.vstack([on_the_way, features(network.eval(), d.images[rows])])


def frozen_batchnorm(d):
    "The head and the statistics it was trained with: before, on the way, after."
    kinds = ("before, before", "before, after", "after, after", "on the way, after")
    found = {(task.name, k): Figure(d) for task in (d.easy, d.hard) for k in kinds}
    moves = []
    for seed in range(5):
        rows = np.sort(some_patients(d, d.easy, 1000, seed, one_each=True))
        train, test = by_patient(d, d.easy, rows, 0.5, seed)
        make = lambda t=train, r=rows: moved_network(d, t, r)
        made = d.array(f"moved-{seed}", make)
        after = dict(zip(rows, made[len(train) :], strict=True))
        at = lambda part, a=after: np.stack([a[k] for k in part])
        moves.append(np.linalg.norm(at(test) - d.x[test]) / np.linalg.norm(d.x[test]))
        for task in (d.easy, d.hard):
            use = np.isin(train, task.rows)
            fit, held = train[use], test[np.isin(test, task.rows)]
            known = {"before": d.x[fit], "after": at(fit), "on the way": made[: len(train)][use]}
            asked = {"before": d.x[held], "after": at(held)}
            for kind in kinds:
                trained, used = kind.split(", ")
                model = logistic().fit(known[trained], task.labels[fit])
                score = model.decision_function(asked[used])
                found[task.name, kind].add(held, rank(task.labels[held], score))
    return batchnorm_text(found, moves, (d.easy.name, d.hard.name))


def batchnorm_text(found, moves, names):
    say(f"features move by {spread(moves)}")
    for (task, kind), figure in found.items():
        difference = figure.minus(found[task, "before, before"])
        say(f"{task}: head trained, used = {kind}: {figure.long()}; to frozen {difference}")
    easy, hard = ({k: f for (t, k), f in found.items() if t == n} for n in names)
    wrong = f"AUROC {hard['before, after']}: head trained before, used after"
    right = f"{hard['before, before']} frozen"
    truth = f"features move by {np.mean(moves):.0%}; trained and used after {hard['after, after']}"
    truth += f"; normal or not: {easy['before, after'].mean:.3f}, "
    truth += f"{easy['before, before'].mean:.3f}, {easy['after, after'].mean:.3f}"
    return wrong, right, truth


def channel_mismatch(d):
    "A new first layer against repeated channels; thumbnails on the same patients beside it."
    kinds = ("new first layer", "three channels", "thumbnails")
    found = {(task.name, k): Figure(d) for task in (d.easy, d.hard) for k in kinds}
    for seed in range(5):
        rows = np.sort(some_patients(d, d.easy, 800, seed, one_each=True))
        make = lambda r=rows, s=seed: other_stem(d, r, s)
        new = dict(zip(rows, d.array(f"stem-{seed}", make), strict=True))
        for task in (d.easy, d.hard):
            use = rows[np.isin(rows, task.rows)]
            train, test = by_patient(d, task, use, 0.4, seed)
            for kind in kinds:
                if kind == "new first layer":
                    x, z = (np.stack([new[k] for k in part]) for part in (train, test))
                else:
                    source = d.x if kind == "three channels" else d.pixels
                    x, z = source[train], source[test]
                score = logistic().fit(x, task.labels[train]).decision_function(z)
                found[task.name, kind].add(test, rank(task.labels[test], score))
    for (task, kind), figure in found.items():
        difference = figure.minus(found[task, "three channels"])
        say(f"{task}, {kind}: {figure.long()}; to three channels {difference}")
    h, e = d.hard.name, d.easy.name
    truth = f"bacteria against virus {found[h, kinds[0]].mean:.3f}, {found[h, kinds[1]].mean:.3f}; "
    truth += f"thumbnails {found[e, kinds[2]].mean:.3f}, {found[h, kinds[2]].mean:.3f}"
    return f"AUROC {found[e, kinds[0]]}", f"{found[e, kinds[1]]}", truth


def features_in_range(d, rows, kind):
    "Features of some images, prepared in one of these ways."
    network, prepare, parts = backbone(), in_range(kind), []
    with torch.inference_mode():
        for some in np.array_split(rows, len(rows) // 32 + 1):
            parts.append(network(prepare(torch.from_numpy(d.images[some])[:, None])))
    return torch.cat(parts).numpy()


def wrong_input_range(d):
    "A head trained on images as they should be, used on images of the same children out of range."
    kinds = ("as saved", "never scaled", "scaled twice", "ImageNet's normalisation")
    rows = np.sort(some_patients(d, d.easy, 600, 0, one_each=True))
    x = {k: d.array(f"range-{k[:5]}", lambda k=k: features_in_range(d, rows, k)) for k in kinds}
    found = {(task.name, k): Figure(d) for task in (d.easy, d.hard) for k in kinds}
    spreads = {key: [] for key in found}
    for task in (d.easy, d.hard):
        y, use = task.labels, rows[np.isin(rows, task.rows)]
        for seed in SEEDS:
            train, test = by_patient(d, task, use, 0.4, seed)
            known, asked = np.searchsorted(rows, train), np.searchsorted(rows, test)
            model = logistic().fit(x["as saved"][known], y[train])
            for kind in kinds:
                score = model.decision_function(x[kind][asked])
                found[task.name, kind].add(test, rank(y[test], score))
                spreads[task.name, kind].append(model.predict_proba(x[kind][asked])[:, 1].std())
    for (task, kind), figure in found.items():
        text = f"{task}, {kind}: {figure.long()}, spread {np.mean(spreads[task, kind]):.4f}"
        say(f"{text}; to as saved {figure.minus(found[task, kinds[0]])}")
    e = [found[d.easy.name, k] for k in kinds]
    h = [found[d.hard.name, k].mean for k in kinds]
    wrong = f"AUROC {e[1]} (0 to 255), {e[2]} (scaled twice)"
    truth = f"the same head; bacteria against virus {h[1]:.3f}, {h[2]:.3f} and {h[0]:.3f}"
    return wrong, f"{e[0]}", f"{truth}; with ImageNet's normalisation {e[3].mean:.3f}, {h[3]:.3f}"


def augmented_evaluation(d):
    "One model, judged on images as they are, on one random view of each, on the mean of eight."
    rows = np.sort(some_patients(d, d.easy, 400, 0, one_each=True))
    rest, texts, views = others(d, d.easy, rows), {}, {}
    for strength in (1.0, 2.0):
        torch.manual_seed(0)
        make = lambda s=strength: np.stack(
            [features(backbone(), d.images[rows], s) for _ in range(8)]
        )
        views[strength] = d.array(f"views-{strength}", make)
    for task in (d.easy, d.hard):
        use = np.isin(rows, task.rows)
        for strength, x in views.items():
            texts[task.name, strength] = judged(d, task, rest, rows[use], x[:, use])
            say(f"{task.name}, strength {strength}:")
            for name, text in texts[task.name, strength].items():
                say(f"  {name}: {text}")
    h, e = texts[d.hard.name, 2.0], texts[d.easy.name, 2.0]
    truth = f"one model, the same patients; mean of eight views {h['mean of 8']}; "
    truth += f"normal or not: {e['one view']}, {e['as it is'].mean:.3f}, {e['mean of 8'].mean:.3f}"
    return f"AUROC {h['one view']}", f"{h['as it is']}", truth


def judged(d, task, rest, rows, views) -> dict:
    "Five models of other patients; what each way of testing says."
    found = {k: Figure(d) for k in ("as it is", "mean of 8", "one", "mean of 8 and as it is")}
    single, y = [], task.labels
    for seed in range(5):
        train, _ = by_patient(d, task, rest[np.isin(rest, task.rows)], 0.4, seed)
        model = logistic().fit(d.x[train], y[train])
        plain = model.decision_function(d.x[rows])
        each = np.stack([model.decision_function(view) for view in views])
        single.append([auroc(y[rows], scores) for scores in each])
        found["as it is"].add(rows, rank(y[rows], plain))
        found["mean of 8"].add(rows, rank(y[rows], each.mean(0)))
        found["mean of 8 and as it is"].add(rows, rank(y[rows], (each.sum(0) + plain) / 9))
        found["one"].add(rows, rank(y[rows], each[seed]))
    single = np.array(single)
    low, high = single.min(1).mean(), single.max(1).mean()
    noise = single.std(1, ddof=1).mean()
    extra = {
        "one view": f"{low:.3f} to {high:.3f}",
        "one view, mean and SD within a model": f"{single.mean():.3f}, {noise:.4f}",
        "one - as it is": found["one"].minus(found["as it is"]),
        "mean of 8 - as it is": found["mean of 8"].minus(found["as it is"]),
    }
    return found | extra


def predictions(d, task, x, seed, patients=None):
    "Probabilities for test patients, and their row numbers."
    rows = task.rows if patients is None else some_patients(d, task, patients, seed)
    train, test = by_patient(d, task, rows, 0.4, seed)
    return logistic().fit(x[train], task.labels[train]).predict_proba(x[test])[:, 1], test


def uncertainty(d):
    "Width of the interval when images, or patients, are drawn with replacement."
    lines = {}
    for task in (d.easy, d.hard):
        size = np.bincount(d.patient)[d.patient]
        for least in (1, 3):
            widths = []
            for seed in SEEDS:
                scores, test = predictions(d, task, d.pixels, seed)
                keep = size[test] >= least
                scores, test = scores[keep], test[keep]
                y, n = task.labels[test], len(test)
                drawn = np.random.default_rng(seed).multinomial(n, np.ones(n) / n, 1000)
                ways = (drawn.astype(np.float32), d.weights[:, d.patient[test]])
                ends = [np.nanquantile(aurocs(y, scores, w), [0.025, 0.975]) for w in ways]
                widths.append([high - low for low, high in ends])
            lines[task.name, least] = np.mean(widths, 0)
            ratio = np.array(widths)[:, 1] / np.array(widths)[:, 0]
            say(f"{task.name}, {least} or more images: {np.mean(widths, 0)}, ratio {spread(ratio)}")
    (a, b), (h, g) = lines[d.easy.name, 1], lines[d.hard.name, 3]
    truth = f"patients are the unit; bacteria against virus, 3 images or more: {h:.3f} and {g:.3f}"
    return f"width of the interval {a:.4f} by image", f"{b:.4f} by patient", truth


def youden(rates):
    return rates["sensitivity"] + rates["specificity"] - 1


def threshold_on_test(d):
    "40 images for the threshold, 40 for the report, all the others for the truth."
    lines = {}
    for task in (d.easy, d.hard):
        table = [threshold_draws(d, task, seed) for seed in SEEDS]
        lines[task.name] = m = pd.DataFrame(table)
        for kind in m:
            say(f"{task.name}, {kind}: {spread(m[kind])}")
    e, h = (lines[task.name].mean() for task in (d.easy, d.hard))
    truth = f"{e['wrong true']:.2f} and {e['right true']:.2f} on further patients; "
    truth += f"bacteria against virus: {h.wrong:.2f}, {h.right:.2f}, true {h['wrong true']:.2f}"
    return f"Youden's index {e.wrong:.2f}", f"{e.right:.2f}", truth


def threshold_draws(d, task, seed) -> pd.Series:
    score, test = predictions(d, task, d.pixels, seed, 800)
    rng, y, out = np.random.default_rng(seed), task.labels[test], []
    for _repeat in range(20):
        order = rng.permutation(len(test))
        val, small, rest = order[:40], order[40:80], order[80:]
        row = {}
        for kind, chosen in (("wrong", small), ("right", val)):
            t = choose_threshold(y[chosen], score[chosen])
            row[kind] = youden(threshold_metrics(y[small], score[small], t))
            row[f"{kind} true"] = youden(threshold_metrics(y[rest], score[rest], t))
        out.append(row)
    return pd.DataFrame(out).mean()


def peeking(d):
    "The best of twenty models of eight pixels, chosen on the test part or on validation."
    out, y = [], d.easy.labels
    for seed in SEEDS:
        train, test = by_patient(d, d.easy, some_patients(d, d.easy, 1000, seed), 0.6, seed)
        order = np.random.default_rng(seed).permutation(len(test))
        parts, table = (order[:80], order[80:160], order[160:]), []
        for k in range(20):
            rng = np.random.default_rng([seed, k])
            few = rng.choice(d.pixels.shape[1], 8, replace=False)
            model = logistic().fit(d.pixels[train][:, few], y[train])
            score = model.decision_function(d.pixels[test][:, few])
            table.append([auroc(y[test[part]], score[part]) for part in parts])
        val, small, rest = np.array(table).T
        w, r = small.argmax(), val.argmax()
        row = {"wrong": small[w], "wrong true": rest[w], "right": small[r], "right true": rest[r]}
        out.append(row)
    m = pd.DataFrame(out)
    for kind in m:
        say(f"{kind}: {spread(m[kind])}")
    m = m.mean()
    truth = f"{m['wrong true']:.3f} and {m['right true']:.3f} on further patients"
    return f"AUROC {m.wrong:.3f}", f"{m.right:.3f}", truth


def prevalence(d):
    "Predictive value here (74 % of the images are positive), and where 5 % are."
    y, out = d.easy.labels, {"wrong": Figure(d), "true": Figure(d)}
    said = []
    for seed in SEEDS:
        score, test = predictions(d, d.easy, d.pixels, seed)
        rates = threshold_metrics(y[test], score, 0.5)
        said.append(predictive_values(rates["sensitivity"], rates["specificity"], 0.05)["ppv"])
        ill, well = test[y[test] == 1], test[y[test] == 0]
        chosen = np.random.default_rng(seed).choice(ill, len(well) // 19, replace=False)
        few = np.concatenate([well, chosen])
        for kind, rows in (("wrong", test), ("true", few)):
            called = score[np.searchsorted(test, rows)] >= 0.5
            out[kind].add(rows, share(y[rows] == 1, called))
    say(f"wrong {out['wrong'].long()}, right {spread(said)}, true {out['true'].long()}")
    return (
        f"PPV {out['wrong']}",
        f"{np.mean(said):.2f}",
        f"{out['true']} where 5 % are positive",
    )


def rare_rows(d, seed):
    "All normal children and as many positive ones as make 6 %, one image each."
    y, rows = d.easy.labels, some_patients(d, d.easy, 10**6, seed, one_each=True)
    ill, well = rows[y[rows] == 1], rows[y[rows] == 0]
    count = round(len(well) * 0.06 / 0.94)
    return np.concatenate([well, np.random.default_rng(seed).choice(ill, count, replace=False)])


def accuracy_only(d):
    "6 % positive: accuracy of a timid model, its sensitivity, its AUROC."
    y = d.easy.labels
    found = {k: Figure(d) for k in ("accuracy", "sensitivity", "auroc")}
    for seed in SEEDS:
        train, test = by_patient(d, d.easy, rare_rows(d, seed), 0.5, seed)
        model = logistic(1e-5).fit(d.pixels[train], y[train])
        score = model.predict_proba(d.pixels[test])[:, 1]
        right = (score >= 0.5) == y[test]
        found["accuracy"].add(test, share(right, np.ones(len(test))))
        found["sensitivity"].add(test, share(right, y[test] == 1))
        found["auroc"].add(test, rank(y[test], score))
    for name, figure in found.items():
        say(f"{name}: {figure.long()}")
    return (
        f"accuracy {found['accuracy'].mean:.2f}",
        f"sensitivity {found['sensitivity'].mean:.2f} (AUROC {found['auroc']})",
        "always saying normal has accuracy 0.94",
    )


def moved_threshold(d):
    "Bacteria against virus: a threshold for 90 %, kept or chosen again when the model is balanced."
    y, found = d.hard.labels, {k: Figure(d) for k in ("wrong", "right", "first", "second")}
    for seed in SEEDS:
        train, rest = by_patient(d, d.hard, d.hard.rows, 0.5, seed)
        val, test = by_patient(d, d.hard, rest, 0.5, seed)
        rare, common = train[y[train] == 0], train[y[train] == 1]
        equal = np.random.default_rng(seed).choice(common, len(rare), replace=False)
        first = logistic().fit(d.pixels[train], y[train])
        balanced = np.concatenate([rare, equal])
        second = logistic().fit(d.pixels[balanced], y[balanced])
        score = second.predict_proba(d.pixels[test])[:, 1]
        for name, version in (("wrong", first), ("right", second)):
            own = version.predict_proba(d.pixels[val])[:, 1]
            limit = choose_threshold(y[val], own, policy="sensitivity", at_least=0.9)
            found[name].add(test, share(score >= limit, y[test] == 1))
        for name, version in (("first", first), ("second", second)):
            found[name].add(test, rank(y[test], version.predict_proba(d.pixels[test])[:, 1]))
    for name, figure in found.items():
        say(f"{name}: {figure.long()}")
    aurocs = f"AUROC {found['first'].mean:.3f} and {found['second'].mean:.3f}"
    truth = f"0.90 was promised; {aurocs} (bacteria against virus)"
    return f"sensitivity {found['wrong']}", f"{found['right']}", truth


def double_balancing(d):
    "Balanced draws with and without a weight for the rare class on top."
    y, found = d.easy.labels, {"wrong": Figure(d), "right": Figure(d)}
    for seed in SEEDS:
        train, test = by_patient(d, d.easy, rare_rows(d, seed), 0.5, seed)
        chance = 1 / np.bincount(y[train])[y[train]] / 2
        drawn = np.random.default_rng(seed).choice(train, len(train), p=chance)
        weight = (y[train] == 0).sum() / (y[train] == 1).sum()
        for kind, w in (("wrong", weight), ("right", 1.0)):
            model = make_pipeline(
                StandardScaler(), LogisticRegression(C=1e-3, class_weight={0: 1, 1: w})
            )
            score = model.fit(d.x[drawn], y[drawn]).predict_proba(d.x[test])[:, 1]
            found[kind].add(test, share(score >= 0.5, y[test] == 0))
    say(f"wrong {found['wrong'].long()}, right {found['right'].long()}")
    say(f"{found['wrong'].minus(found['right'])}")
    return f"{found['wrong'].mean:.0%} false alarms", f"{found['right'].mean:.0%}", "6 % positive"


def best_fold(d):
    "Ten folds by patient of 300 children: the best, the mean, and all other children."
    y, out, true = d.easy.labels, [], Figure(d)
    for seed in SEEDS:
        rows = some_patients(d, d.easy, 300, seed)
        folds = StratifiedGroupKFold(10, shuffle=True, random_state=seed)
        scores = []
        for train, test in folds.split(rows, y[rows], d.patient[rows]):
            model = logistic().fit(d.pixels[rows[train]], y[rows[train]])
            said = model.decision_function(d.pixels[rows[test]])
            scores.append(auroc(y[rows[test]], said))
        rest = others(d, d.easy, rows)
        model = logistic().fit(d.pixels[rows], y[rows])
        true.add(rest, rank(y[rest], model.decision_function(d.pixels[rest])))
        out.append({"wrong": max(scores), "right": np.mean(scores)})
    m = pd.DataFrame(out)
    say(f"best {spread(m.wrong)}, mean {spread(m.right)}, true {true.long()}")
    return (
        f"AUROC {m.wrong.mean():.3f}",
        f"{m.right.mean():.3f}",
        f"{true} on all other patients",
    )


def tuning(d):
    "60 children with coin tosses; the best of 25 sets of ten features, with and without nesting."
    out = []
    for seed in range(20):
        x = d.x[some_patients(d, d.easy, 60, seed, one_each=True)]
        y = np.random.default_rng(seed).permutation(np.arange(60) % 2)
        sets = [np.random.default_rng(k).choice(x.shape[1], 10, replace=False) for k in range(25)]
        folds = StratifiedKFold(3, shuffle=True, random_state=seed)

        def score(chosen, rows, x=x, y=y, folds=folds):
            part = x[rows][:, chosen]
            model = LinearDiscriminantAnalysis()
            return cross_val_score(model, part, y[rows], cv=folds, scoring="roc_auc").mean()

        nested = []
        for train, test in folds.split(x, y):
            best = sets[int(np.argmax([score(chosen, train) for chosen in sets]))]
            model = LinearDiscriminantAnalysis().fit(x[train][:, best], y[train])
            nested.append(auroc(y[test], model.decision_function(x[test][:, best])))
        wrong = max(score(chosen, np.arange(60)) for chosen in sets)
        out.append({"wrong": wrong, "right": np.mean(nested)})
    m = pd.DataFrame(out)
    say(f"wrong {spread(m.wrong)}, right {spread(m.right)}")
    return f"AUROC {m.wrong.mean():.2f}", f"{m.right.mean():.2f}", "0.50: coin tosses (20 draws)"


def flipped_patients(d, rng, doubt) -> np.ndarray:
    "15 % of the children get the other label: any, or half of the 30 % with doubtful scores."
    names = np.arange(d.patient.max() + 1)
    if doubt is not None:
        worst = pd.Series(doubt).groupby(d.patient).max().sort_values().index
        names = worst[-round(0.3 * len(names)) :].to_numpy()
    count = round(0.15 * (d.patient.max() + 1))
    return np.isin(d.patient, rng.permutation(names)[:count])


def label_noise(d):
    "Wrong labels at random, or where another model is in doubt: drop suspects, or read a sample."
    y, texts = d.easy.labels, {}
    doubt = -np.abs(out_of_patient(d, d.x, y) - 0.5)
    for name, source in (("at random", None), ("borderline", doubt)):
        chosen = [flipped_patients(d, np.random.default_rng(seed), source) for seed in SEEDS]
        rows = [noise_study(d, flip, seed) for seed, flip in enumerate(chosen)]
        m = texts[name] = pd.DataFrame(rows)
        for kind in m:
            say(f"errors {name}, {kind}: {spread(m[kind])}")
    a, b = texts["at random"].mean(), texts["borderline"].mean()
    truth = f"{a.true:.3f} on the labels before 15 % were changed; with errors where it is hard: "
    truth += f"{b.dropped:.3f}, {b.corrected:.3f}, true {b.true:.3f}"
    return (
        f"AUROC {a.dropped:.3f} (suspects dropped: {a['dropped share']:.0%})",
        f"{a.corrected:.3f} (sample read again)",
        truth,
    )


def noise_study(d, flip, seed) -> dict:
    y, rng = d.easy.labels, np.random.default_rng(seed)
    filed = np.where(flip, 1 - y, y)
    train, test = by_patient(d, d.easy, d.easy.rows, 0.4, seed)
    score = logistic().fit(d.pixels[train], filed[train]).predict_proba(d.pixels[test])[:, 1]
    suspect = find_label_issues(filed[test], np.stack([1 - score, score], 1), n_jobs=1)
    wrong = []
    for k in (0, 1):  # 100 images filed as each class are read again
        read = rng.choice(test[filed[test] == k], 100, replace=False)
        wrong.append(flip[read].mean())
    seen = auroc(filed[test], score)
    return {
        "as filed": seen,
        "dropped": auroc(filed[test][~suspect], score[~suspect]),
        "dropped share": suspect.mean(),
        "corrected": 0.5 + (seen - 0.5) / (1 - sum(wrong)),
        "true": auroc(y[test], score),
    }


def pooled_hospitals(d):
    """Bacteria or virus in two hospitals that are made of one: half of the children are shown with
    another display curve, and each hospital gets its own share of bacterial pneumonia."""
    y, kinds = d.hard.labels, ("pooled", "hospital alone", "within", "true", "tells hospital")
    found = {kind: Figure(d) for kind in kinds}
    for seed in SEEDS:
        train, test, fresh, second = two_hospitals(d, seed)
        x = np.where(second[:, None], d.pixels**1.5, d.pixels)
        score = logistic().fit(x[train], y[train]).decision_function(x)
        found["pooled"].add(test, rank(y[test], score[test]))
        found["hospital alone"].add(test, rank(y[test], ~second[test]))
        found["tells hospital"].add(test, rank(~second[test], score[test]))
        parts = [test[second[test] == which] for which in (False, True)]
        each = [rank(y[part], score[part]) for part in parts]
        columns = [np.flatnonzero(np.isin(test, part)) for part in parts]
        both = lambda w, e=each, c=columns: (e[0](w[:, c[0]]) + e[1](w[:, c[1]])) / 2
        found["within"].add(test, both)
        found["true"].add(fresh, rank(y[fresh], score[fresh]))
    for kind, figure in found.items():
        say(f"{kind}: {figure.long()}")
    say(f"  pooled - true: {found['pooled'].minus(found['true'])}")
    alone = f"the hospital alone {found['hospital alone'].mean:.3f}"
    truth = f"{found['true']} in children of whom half have bacterial pneumonia in each hospital"
    return f"AUROC {found['pooled']} pooled ({alone})", f"{found['within']} within", truth


def two_hospitals(d, seed):
    "Rows for training, test and a fresh test, one image each; who is in the second hospital."
    rng = np.random.default_rng([51, seed])
    rows = rng.permutation(some_patients(d, d.hard, 9999, seed, one_each=True))
    second, parts = np.zeros(len(d.cohort), bool), ([], [], [])
    for label, (many, few) in ((1, (400, 100)), (0, (100, 400))):
        own = rows[d.hard.labels[rows] == label]
        second[own[len(own) // 2 :]] = True
        for where, count in ((False, many), (True, few)):
            there = own[second[own] == where]
            cuts = (count // 2, count, count + 100)
            for part, some in zip(parts, np.split(there, cuts), strict=False):
                part.append(some)
    return *(np.concatenate(part) for part in parts), second


def one_viral_in_ten(d):
    """Of the children with pneumonia one in ten has a viral one, in training and test alike. What
    does the sensitivity of all say about them? Truth: children who took no part."""
    y, kind = d.easy.labels, d.cohort.subtype.fillna("normal").to_numpy()
    names = ("all", "virus", "virus true", "specificity")
    found = {name: Figure(d) for name in names}
    for seed in range(20):
        train, val, test, fresh = few_viral(d, kind, seed)
        model = logistic().fit(d.pixels[train], y[train])
        limit = np.quantile(model.decision_function(d.pixels[val]), 0.95)
        called = model.decision_function(d.pixels) > limit
        found["all"].add(test, share(called[test], y[test] == 1))
        found["virus"].add(test, share(called[test], kind[test] == "virus"))
        found["virus true"].add(fresh, share(called[fresh], kind[fresh] == "virus"))
        found["specificity"].add(test, share(~called[test], y[test] == 0))
    for name, figure in found.items():
        say(f"{name}: {figure.long()}")
    say(f"  all - virus true: {found['all'].minus(found['virus true'])}")
    truth = f"{found['virus true']} in further children (specificity "
    truth += f"{found['specificity'].mean:.3f})"
    return f"sensitivity {found['all']} of all", f"{found['virus']} of the viral", truth


def few_viral(d, kind, seed):
    "Rows for training, validation (normal), test, and other children; one image each."
    rng = np.random.default_rng([52, seed])
    rows = rng.permutation(some_patients(d, d.easy, 9999, seed, one_each=True))
    parts = ([], [], [], [])
    for name, count in (("bacteria", 540), ("virus", 60), ("normal", 900)):
        own = rows[kind[rows] == name]
        thirds = count * np.array([1, 2, 3]) // 3
        cuts = thirds if name == "normal" else count * np.array([1, 1, 2]) // 2
        for part, some in zip(parts, np.split(own, cuts), strict=True):
            part.append(some)
    return [np.concatenate(part) for part in parts]


def out_of_patient(d, x, y) -> np.ndarray:
    "Probabilities from models that have not seen the patient."
    said = np.empty(len(y))
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=0)
    for train, test in folds.split(x, y, d.patient):
        said[test] = logistic().fit(x[train], y[train]).predict_proba(x[test])[:, 1]
    return said


def each_class(d, task, n: int, seed: int) -> np.ndarray:
    "n random patients of each class, one image each."
    rows = some_patients(d, task, 10**6, seed, one_each=True)
    rows = np.random.default_rng([seed, 1]).permutation(rows)
    return np.concatenate([rows[task.labels[rows] == k][:n] for k in (0, 1)])


def checkpoint_run(d, task, n: int, n_val: int, seed: int, epochs: int):
    "Logits at the best and the last epoch, as they are and divided by a temperature."
    both = each_class(d, task, n + n_val, seed)
    half = len(both) // 2
    train = np.concatenate([both[:n], both[half : half + n]])
    val, test = np.setdiff1d(both, train), others(d, task, both)
    torch.manual_seed(seed)
    best, kept, y = np.inf, None, task.labels
    for epoch, head in enumerate(epochs_of(new_head(), d.x[train], y[train], epochs, seed)):
        loss = log_loss(y[val], logits(head, d.x[val]))
        if loss < best:
            best, when = loss, epoch + 1
            kept = logits(head, d.x[val]), logits(head, d.x[test])
    last = logits(head, d.x[val]), logits(head, d.x[test])
    said = {"best": kept[1], "last": last[1]}
    for name, (a, b) in (("best", kept), ("last", last)):
        said[f"{name}, temperature"] = b / fit_temperature(a, y[val])
    return test, said, when


def last_checkpoint(d):
    "A head trained for long on few and on many patients."
    lines = {}
    for task in (d.hard, d.easy):
        for n, n_val, epochs in ((40, 20, 60), (600, 100, 60)):
            found, losses, when = {}, [], []
            for seed in SEEDS:
                test, said, epoch = checkpoint_run(d, task, n, n_val, seed, epochs)
                when.append(epoch)
                losses.append({k: log_loss(task.labels[test], z) for k, z in said.items()})
                for k in ("best", "last"):
                    figure = found.setdefault(k, Figure(d))
                    figure.add(test, rank(task.labels[test], said[k]))
            table = lines[task.name, n] = found, pd.DataFrame(losses)
            checkpoint_text(f"{task.name}, {n} patients of each class", *table, when)
    (f, t), (g, u) = lines[d.hard.name, 40], lines[d.hard.name, 600]
    wrong = f"AUROC {f['last']}, log loss {t['last'].mean():.2f} (last epoch)"
    right = f"{f['best']}, log loss {t['best'].mean():.2f} (best on validation)"
    truth = f"last with temperature: log loss {t['last, temperature'].mean():.2f}; "
    truth += (
        f"with 600 patients of each class {g['last'].mean:.3f} and {g['best'].mean:.3f}, log loss "
    )
    truth += f"{u['last'].mean():.2f} and {u['best'].mean():.2f}"
    return wrong, right, truth


def checkpoint_text(name, found, losses, when):
    say(f"{name}; best epoch {sorted(when)}")
    say(f"  best {found['best'].long()}, last {found['last'].long()}")
    say(f"  best - last {found['best'].minus(found['last'])}")
    for k in losses:
        say(f"  log loss {k}: {spread(losses[k])}")
    better = (losses["last, temperature"] < losses["best"]).sum()
    say(f"  last with temperature has less loss than best in {better} of {len(losses)} seeds")


def small_network() -> nn.Module:
    "Four convolutional layers with pooling, 60,465 parameters."
    layers, before = [], 1
    for width in (16, 32, 64, 64):
        layers += [nn.Conv2d(before, width, 3, padding=1, bias=False)]
        layers += [nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2)]
        before = width
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, 1))
    return network.to(memory_format=torch.channels_last)


def from_scratch(d):
    "300 images: a small network from scratch, and a logistic regression on frozen features."
    lines = []
    for task in (d.easy, d.hard):
        found = {k: Figure(d) for k in ("from scratch", "frozen features", "thumbnails")}
        for seed in range(3):
            train, y = each_class(d, task, 150, seed), task.labels
            test = np.random.default_rng(seed).permutation(others(d, task, train))[:1500]
            torch.manual_seed(seed)
            x = halved(d.images[train])
            *_, model = epochs_of(small_network(), x, y[train], 30, seed, 3e-3, batch=32)
            score = logits(model, halved(d.images[test]))
            found["from scratch"].add(test, rank(y[test], score))
            for name, source in (("frozen features", d.x), ("thumbnails", d.pixels)):
                score = logistic().fit(source[train], y[train]).decision_function(source[test])
                found[name].add(test, rank(y[test], score))
        for name, figure in found.items():
            say(f"{task.name}, {name}: {figure.long()}")
        difference = found["from scratch"].minus(found["frozen features"])
        say(f"{task.name}, from scratch - frozen: {difference}")
        lines.append(f"{task.name}: " + ", ".join(f"{k} {f}" for k, f in found.items()))
    say(f"{sum(p.numel() for p in small_network().parameters())} parameters")
    return "300 images (150 of each class), AUROC on other patients; " + "; ".join(lines)


def halved(images) -> torch.Tensor:
    "(n, 1, 112, 112), centred."
    return nn.functional.avg_pool2d(torch.as_tensor(images)[:, None].float(), 2) / 64 - 2


def thumbnails_or_network(d):
    "Logistic regressions with the best of four penalties, on the same splits."
    lines = []
    for task in (d.easy, d.hard):
        found = {"thumbnails": Figure(d), "frozen features": Figure(d)}
        for seed in range(5):
            train, test = by_patient(d, task, task.rows, 0.2, seed)
            for name, x in (("thumbnails", d.pixels), ("frozen features", d.x)):
                c = best_penalty(d, task, x, train, seed)
                score = logistic(c).fit(x[train], task.labels[train]).decision_function(x[test])
                found[name].add(test, rank(task.labels[test], score))
        for name, figure in found.items():
            say(f"{task.name}, {name}: {figure.long()}")
        say(f"  {found['thumbnails'].minus(found['frozen features'])}")
        lines.append(f"{task.name}: " + ", ".join(f"{k} {f}" for k, f in found.items()))
    return "80 % of the patients for training, AUROC on the others; " + "; ".join(lines)


def best_penalty(d, task, x, train, seed) -> float:
    "Chosen on a quarter of the training patients."
    fit, val = by_patient(d, task, train, 0.25, seed + 100)
    y, choices = task.labels, (1e-4, 1e-3, 1e-2, 1e-1)
    said = [logistic(c).fit(x[fit], y[fit]).decision_function(x[val]) for c in choices]
    return choices[int(np.argmax([auroc(y[val], s) for s in said]))]


def hidden_strata(d):
    "Sensitivity for bacteria and for virus at the threshold that 95 % of validation normals pass."
    lines, y, kind = [], d.easy.labels, d.cohort.subtype.fillna("normal").to_numpy()
    for name, taught in (("both", ("bacteria", "virus")), ("bacteria only", ("bacteria",))):
        for source, x in (("features", d.x), ("thumbnails", d.pixels)):
            names = ("sensitivity bacteria", "sensitivity virus", "specificity")
            names += ("AUROC bacteria", "AUROC virus")
            found = {k: Figure(d) for k in names}
            for seed in SEEDS:
                known, test = by_patient(d, d.easy, d.easy.rows, 0.3, seed)
                train, val = by_patient(d, d.easy, known, 0.3, seed)
                train = train[np.isin(kind[train], ("normal", *taught))]
                model = logistic().fit(x[train], y[train])
                limit = np.quantile(model.decision_function(x[val[y[val] == 0]]), 0.95)
                strata_figures(found, kind[test], test, model.decision_function(x[test]), limit)
            for key, figure in found.items():
                say(f"taught {name}, {source}: {key} {figure.long()}")
            gap = found["sensitivity bacteria"].minus(found["sensitivity virus"])
            say(f"  bacteria - virus: {gap}")
            if source == "features":
                b, v = (found[f"sensitivity {k}"] for k in ("bacteria", "virus"))
                lines.append(f"taught {name}: bacteria {b}, virus {v}")
    return "sensitivity at a specificity of 0.95; " + "; ".join(lines)


def strata_figures(found, kind, test, score, limit) -> None:
    called = score > limit
    found["specificity"].add(test, share(~called, kind == "normal"))
    for stratum in ("bacteria", "virus"):
        found[f"sensitivity {stratum}"].add(test, share(called, kind == stratum))
        use = np.isin(kind, ("normal", stratum))
        labels = (kind[use] == stratum).astype(int)
        found[f"AUROC {stratum}"].add(test[use], rank(labels, score[use]))


def positive_weight(d):
    "The weight of the positive class, counted in patients and in images."
    first = np.unique(d.patient, return_index=True)[1]
    ratio = lambda y: (y == 0).sum() / (y == 1).sum()
    by = ratio(d.easy.labels[first]), ratio(d.easy.labels)
    return f"negative over positive: {by[0]:.2f} by patient, {by[1]:.2f} by image"


def variance(d):
    "100 patients for training: ten splits, and ten seeds of the training for each."
    lines = []
    for task in (d.easy, d.hard):
        table = {"all others": np.empty((10, 10)), "100 others": np.empty((10, 10))}
        for split in range(10):
            train = each_class(d, task, 50, split)
            test = others(d, task, train)
            few = np.random.default_rng(split).permutation(some_of(d, test))[:100]
            for seed in range(10):
                torch.manual_seed(seed)
                *_, model = epochs_of(new_head(), d.x[train], task.labels[train], 20, seed)
                for name, part in (("all others", test), ("100 others", few)):
                    score = logits(model, d.x[part])
                    table[name][split, seed] = auroc(task.labels[part], score)
        for name, a in table.items():
            over = a.std(1, ddof=1).mean(), a.std(0, ddof=1).mean()
            say(f"{task.name}, tested on {name}: mean {a.mean():.3f}, SD over seeds {over[0]:.4f}")
            say(f"  (of the ten splits {a.std(1, ddof=1).round(4)}), SD over splits {over[1]:.4f}")
            lines.append(f"{task.name}, tested on {name}: {over[0]:.4f} and {over[1]:.4f}")
    return "SD of the AUROC over ten seeds and over ten splits; " + "; ".join(lines)


def some_of(d, rows) -> np.ndarray:
    "One image of each patient."
    return rows[np.unique(d.patient[rows], return_index=True)[1]]


def by_image(cohort, seed):
    return train_test_split(np.arange(len(cohort)), test_size=0.3, random_state=seed)


def probe(d):
    "Coin tosses for labels; a split by image, and by patient (chance)."
    lines, size = [], np.bincount(d.patient)[d.patient]
    for least, draws in ((1, 10), (3, 20)):
        rows = np.flatnonzero(size >= least)
        table = permuted_label_probe(d.pixels[rows], d.patient[rows], by_image, draws)
        limit = table.null.mean() + 2 * table.null.std()
        say(f"{least} or more images: {len(rows)} images, {draws} draws")
        say(f"  image {spread(table.auroc)}")
        say(f"  patient {spread(table.null)}, largest {table.null.max():.3f}")
        text = f"{table.auroc.mean():.3f} by image, {table.null.mean():.3f} by patient"
        lines.append(f"{least} or more images: {text}, chance below {limit:.3f}")
    return "AUROC on coin tosses; " + "; ".join(lines)


QUESTIONS = {
    "image-level-leakage": image_level_leakage,
    "duplicate-images": duplicates,
    "oversample-before-split": oversampling,
    "preprocessing-before-split": preprocessing,
    "metadata-leakage": size_alone,
    "temporal-leakage": temporal,
    "flipping": flipping,
    "frozen-batchnorm": frozen_batchnorm,
    "channel-mismatch": channel_mismatch,
    "wrong-input-range": wrong_input_range,
    "last-checkpoint": last_checkpoint,
    "augmented-evaluation": augmented_evaluation,
    "ignored-uncertainty": uncertainty,
    "threshold-on-test": threshold_on_test,
    "test-set-peeking": peeking,
    "ignored-prevalence": prevalence,
    "accuracy-only": accuracy_only,
    "moved-threshold": moved_threshold,
    "double-balancing": double_balancing,
    "best-fold-reporting": best_fold,
    "tuning-without-nesting": tuning,
    "label-noise": label_noise,
    "pooled-hospitals": pooled_hospitals,
    "hidden-strata": one_viral_in_ten,
}
FACTS = {
    "patients": counts,
    "file size": file_size,
    "thumbnails or network": thumbnails_or_network,
    "network from scratch": from_scratch,
    "hidden strata": hidden_strata,
    "pos_weight": positive_weight,
    "seeds and splits": variance,
    "probe": probe,
}


def write(answers: dict, file: Path) -> None:
    "The facts, in their own order."
    lines = []
    for name in QUESTIONS | FACTS:
        if name in answers:
            told = answers[name]
            lines.append(f"- {name}: {told if isinstance(told, str) else '; '.join(told)}")
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("real", help="folder with NORMAL and PNEUMONIA")
    parser.add_argument("--only", nargs="*", help="answer these again, keep the others")
    given = parser.parse_args()
    d, kept = read_real(given.real), Path(__file__).with_suffix(".json")
    answers = json.loads(kept.read_text()) if given.only and kept.exists() else {}
    for name, question in (QUESTIONS | FACTS).items():
        if given.only is None or name in given.only:
            print(name, flush=True)
            answers[name] = question(d)
            print(f"  {answers[name]}", flush=True)
            kept.write_text(json.dumps(answers, indent=1) + "\n")
            write(answers, kept.with_suffix(".md"))


if __name__ == "__main__":
    main()
