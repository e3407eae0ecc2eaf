"Questions to real X-rays: transforms, models and training (chapters 06 to 09)."

from functools import lru_cache

import numpy as np
import torch
from PIL import Image
from real_data import (
    auroc,
    backbone,
    cut,
    draw,
    epochs_of,
    features,
    fine_tuned,
    in_range,
    log_loss,
    logistic,
    logits,
    new_head,
    other_stem,
)
from real_record import question
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cxr_tutorial.models import MedicalImageClassifier, unfreeze
from cxr_tutorial.transforms import training_transform

HARD = "Bacteria or virus?"
HELD = "200 children learn, 1,000 others tell."


def taught_and_asked(d, x, z, seed, counts=(100, 100)) -> float:
    "AUROC of held-back children as they are in z, of a model of 200 children as they are in x."
    y = d.hard.labels
    rows, rest = draw(d.some, y, counts, seed)
    return auroc(y[rest], logistic().fit(x[rows], y[rows]).decision_function(z[rest]))


def formatted(image, row) -> np.ndarray:
    "A wide or a tall part of an image (3 : 4), by its row number."
    return image[28:196] if np.random.default_rng([6, row]).random() < 0.5 else image[:, 28:196]


def squashed(image, row) -> np.ndarray:
    part = Image.fromarray(formatted(image, row))
    return np.asarray(part.resize((224, 224), Image.Resampling.BILINEAR))


def padded(image, row) -> np.ndarray:
    part, whole = formatted(image, row), np.zeros((224, 224), np.uint8)
    top, left = (224 - part.shape[0]) // 2, (224 - part.shape[1]) // 2
    whole[top : top + part.shape[0], left : left + part.shape[1]] = part
    return whole


@question(
    "squashed-aspect-ratio",
    "wide and tall parts of each image",
    f"{HARD} {HELD} Of each image a wide or a tall part (3 : 4) is taken, at random, and squashed "
    "into a square or padded. The original formats of this set are gone: it was squashed before.",
    "No loss here: padding spends a quarter of the square on black. Large where the shape itself "
    "is the answer (a broad heart), which no label of this set asks.",
)
def squashing(d, kind, seed):
    ways = {"wrong": squashed, "right": padded}
    parts = {way: d.altered(kind, change.__name__, change) for way, change in ways.items()}
    return {way: taught_and_asked(d, x, x, seed) for way, x in parts.items()}


def spot_at(image, rng, strength: float) -> tuple[np.ndarray, tuple[int, int]]:
    "A round spot of 4 pixels in one of the lung fields, and its place."
    row, column = rng.integers(70, 140), rng.choice([rng.integers(45, 85), rng.integers(139, 179)])
    y, x = np.ogrid[:224, :224]
    height = np.clip(1 - ((y - row) ** 2 + (x - column) ** 2) / 2.5**2, 0, None) ** 0.5
    return image + strength * height, (row, column)


def brighter(image, place, side: int) -> float:
    "By how much a place is brighter than its surroundings when the image is shrunk."
    small = Image.fromarray(np.clip(image, 0, 255).astype(np.uint8))
    small = small.resize((side, side), Image.Resampling.BOX).resize((224, 224), 0)
    y, x = np.ogrid[:224, :224]
    distance = np.hypot(y - place[0], x - place[1])
    left = np.asarray(small, float)
    return left[distance <= 2].mean() - left[(distance > 4) & (distance < 8)].mean()


@question(
    "too-small-images",
    "a spot of 5 pixels put in",
    "Is there a small round spot at this place? 100 children, every other one with a spot of 5 "
    "pixels in a lung field put in, 25 grey levels bright. The reader of the chapter (how much "
    "brighter than around it?) gets images of 64 (wrong) or 224 pixels (right).",
    "Larger the smaller the finding; nothing is lost of what is many pixels wide.",
    inputs=("rule",),
)
def spots(d, kind, seed):
    rng = np.random.default_rng([seed, 4])
    rows = rng.permutation(d.first(d.easy))[:100]
    labels, said = np.arange(100) % 2, {"wrong": [], "right": []}
    for row, label in zip(rows, labels, strict=True):
        image, place = spot_at(d.images[row].astype(float), rng, 25.0 * label)
        said["wrong"].append(brighter(image, place, 64))
        said["right"].append(brighter(image, place, 224))
    return {way: auroc(labels, np.array(scores)) for way, scores in said.items()}


def shrunk(image, row) -> np.ndarray:
    small = Image.fromarray(image).resize((64, 64), Image.Resampling.BOX)
    return np.asarray(small.resize((224, 224), Image.Resampling.BILINEAR))


@question(
    "too-small-images",
    "bacteria or virus at 64 pixels",
    f"{HARD} {HELD} Features of images that were shrunk to 64 pixels and enlarged again (wrong), "
    "and of the images as they are, 224 pixels (right). The set names no small finding.",
    "Pneumonia is large: hardly anything is lost. It is small findings that vanish.",
    inputs=("features",),
)
def shrinking(d, kind, seed):
    x = d.altered(kind, "shrunk", shrunk)
    return {
        "wrong": taught_and_asked(d, x, x, seed),
        "right": taught_and_asked(d, d.x, d.x, seed),
    }


def mirror_of(d, kind) -> np.ndarray:
    "What a model gets of the mirrored images."
    if kind == "features":
        return d.mirrored
    return d.pixels.reshape(-1, 24, 24)[..., ::-1].reshape(d.pixels.shape)


def sides(d, seed, count=100):
    "Rows for training and of others, and which of the children are mirrored."
    turned = np.random.default_rng([seed, 5]).integers(0, 2, len(d.cohort))
    rows = np.random.default_rng([seed, 7]).permutation(d.first(d.easy))
    return rows[:count], rows[count : count + 1000], turned


@question(
    "flipping",
    "on which side is the heart?",
    "Half of the children are mirrored, as if they had situs inversus: which? 100 children learn, "
    "1,000 others tell. The wrong way adds a mirrored copy of each training image under the "
    "label of the image.",
    "The frozen network hardly knows the side, because it averages over the image. A flip does no "
    "harm to a question without a side: pneumonia 0.995 with and 0.994 without, bacteria or virus "
    "0.787 and 0.784.",
)
def flipping(d, kind, seed):
    plain, mirror = d.plain(kind), mirror_of(d, kind)
    train, rest, turned = sides(d, seed)
    x = np.where(turned[:, None] == 1, mirror, plain)
    copies = np.where(turned[:, None] == 1, plain, mirror)
    with_flips = np.vstack([x[train], copies[train]])
    wrong = logistic().fit(with_flips, np.tile(turned[train], 2))
    right = logistic().fit(x[train], turned[train])
    said = {"wrong": wrong, "right": right}
    return {k: auroc(turned[rest], m.decision_function(x[rest])) for k, m in said.items()}


@question(
    "flipping",
    "the same, a fine-tuned network",
    "As above, with EfficientNet-Lite0 fine-tuned as a whole on 120 images of 64 pixels for five "
    "epochs, with RandomHorizontalFlip (wrong) or without (right).",
    "With every flip the network unlearns the side.",
    draws=20,
    inputs=("network",),
)
def flipping_network(d, kind, seed):
    train, rest, turned = sides(d, seed, 120)
    seen = lambda row: d.images[row][:, ::-1] if turned[row] else d.images[row]
    known, asked = (np.stack([seen(row) for row in rows]) for rows in (train, rest[:200]))
    row = {}
    for way in ("wrong", "right"):
        say = fine_tuned(known, turned[train], seed, epochs=5, flips=way == "wrong")
        row[way] = auroc(turned[rest[:200]], say(asked))
    return row


@question(
    "frozen-batchnorm",
    "the head trained before, used after",
    f"{HARD} 96 children learn, 120 others tell. The head learns from the features of the frozen "
    "network and is used when the training images have passed through it once, in training mode "
    "(wrong) or in evaluation mode (right).",
    "Larger the more batches pass: with 500 children 0.603 instead of 0.768. A head that is "
    "trained on the moved features loses nothing (0.769).",
    draws=20,
    inputs=("features",),
)
def frozen_batchnorm(d, kind, seed):
    y = d.hard.labels
    train, rest = draw(d.first(d.hard), y, (48, 48), seed)
    rest = np.random.default_rng(seed).permutation(rest)[:120]
    model = unfreeze(MedicalImageClassifier(size=224), update_bn_stats=True)
    features(model.backbone.train(), d.images[train])
    moved = features(model.backbone.eval(), d.images[rest])
    head = logistic().fit(d.x[train], y[train])
    return {
        "wrong": auroc(y[rest], head.decision_function(moved)),
        "right": auroc(y[rest], head.decision_function(d.x[rest])),
    }


@question(
    "channel-mismatch",
    "a random first layer for one channel",
    f"{HARD} {HELD} A random first layer, one of two (wrong), or the trained one, which gets the "
    "grey channel three times (right).",
    "For normal or pneumonia 0.960 and 0.987. The features of a random first layer are worth "
    "about as much as thumbnails.",
    inputs=("features",),
)
def channel_mismatch(d, kind, seed):
    number = seed % 2
    made = d.array(f"some-stem-{number}", lambda: other_stem(d, d.some, number))
    x = d.spread(d.some, made)
    return {
        "wrong": taught_and_asked(d, x, x, seed),
        "right": taught_and_asked(d, d.x, d.x, seed),
    }


def out_of_range(d, way: str) -> np.ndarray:
    make = lambda: features(backbone(), d.images[d.some], prepare=in_range(way))
    return d.spread(d.some, d.array(f"some-{way.replace(' ', '-')}", make))


def input_range(d, kind, seed, way):
    return {
        "wrong": taught_and_asked(d, d.x, out_of_range(d, way), seed),
        "right": taught_and_asked(d, d.x, d.x, seed),
    }


@question(
    "wrong-input-range",
    "0 to 255 instead of 0 to 1",
    f"{HARD} {HELD} The head learns from images as they should be, and is used on images that "
    "were never scaled (wrong).",
    "With another network's normalisation (ImageNet's) instead of a wrong range, less is lost on "
    "the easy question: 0.970 instead of 0.982.",
    inputs=("features",),
)
def never_scaled(d, kind, seed):
    return input_range(d, kind, seed, "never scaled")


@question(
    "wrong-input-range",
    "scaled twice",
    f"{HARD} {HELD} The head is used on images that were scaled twice: black to the network.",
    "The answers are nearly the same for all children, so no threshold can part them.",
    inputs=("features",),
)
def scaled_twice(d, kind, seed):
    return input_range(d, kind, seed, "scaled twice")


@lru_cache(200)
def checkpoints(d, kind, seed):
    "Labels, and logits of the last and of the best epoch, for all other children."
    y, x = d.hard.labels, d.plain(kind)
    both, rest = draw(d.first(d.hard), y, (60, 60), seed)
    train, val = cut(both, y, 1 / 3, seed)
    mean, spread = x[train].mean(0), x[train].std(0) + 1e-6
    z = lambda rows: ((x[rows] - mean) / spread).astype(np.float32)
    torch.manual_seed(seed)
    best, kept = np.inf, None
    for head in epochs_of(new_head(x.shape[1]), z(train), y[train], 60, seed):
        loss = log_loss(y[val], logits(head, z(val)))
        if loss < best:
            best, kept = loss, logits(head, z(rest))
    return y[rest], logits(head, z(rest)), kept


@question(
    "last-checkpoint",
    "log loss",
    f"{HARD} A head trains for 60 epochs on 80 children. Kept is the last epoch (wrong) or the one "
    "with the least loss on 40 others (right). All other children tell; a coin has 0.69.",
    "Smaller with more training children (600 of each class: 0.88 and 0.53), and mended by a "
    "temperature.",
    measure="log loss",
)
def last_checkpoint(d, kind, seed):
    y, last, best = checkpoints(d, kind, seed)
    return {"wrong": log_loss(y, last), "right": log_loss(y, best)}


@question(
    "last-checkpoint",
    "AUROC",
    f"{HARD} The same heads: does the order of the children suffer, too?",
    "Hardly anywhere: overtraining spoils the probabilities first.",
)
def last_checkpoint_rank(d, kind, seed):
    y, last, best = checkpoints(d, kind, seed)
    return {"wrong": auroc(y, last), "right": auroc(y, best)}


def random_view(number: int):
    "Moves and brightens each image at random, with twice the usual strength."
    vary = training_transform(224, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), 2.0)

    def change(image, row):
        torch.manual_seed(10_000 * number + row)
        return (255 * vary(torch.from_numpy(image)[None])[0]).clip(0, 255).byte().numpy()

    return change


def viewed(d, kind, number):
    return d.altered(kind, f"view-{number}", random_view(number))


@question(
    "augmented-evaluation",
    "the test images changed at random",
    f"{HARD} {HELD} Tested on one random view of each image (wrong), or on the images (right).",
    "Smaller with the usual strength (this is twice that) and for an easy question; the mean of "
    "several views wins it back.",
)
def augmented_evaluation(d, kind, seed):
    x = d.plain(kind)
    return {
        "wrong": taught_and_asked(d, x, viewed(d, kind, 0), seed),
        "right": taught_and_asked(d, x, x, seed),
    }


@question(
    "augmented-evaluation",
    "run again, on 60 test children",
    f"{HARD} The same models, each tested twice on the same 60 children: how far are the two "
    "AUROCs apart?",
    "Smaller with more test children.",
    measure="AUROC between two runs",
    inputs=("thumbnails",),
)
def augmented_again(d, kind, seed):
    y, x = d.hard.labels, d.plain(kind)
    rows, rest = draw(d.some, y, (100, 100), seed)
    test, _ = draw(rest, y, (30, 30), seed)
    model = logistic().fit(x[rows], y[rows])
    told = [auroc(y[test], model.decision_function(viewed(d, kind, k)[test])) for k in (0, 1)]
    return {"wrong": abs(told[0] - told[1]), "right": 0.0}


@question(
    "softmax-for-multilabel",
    "pneumonia, and a mirrored chest",
    "The set names one finding, so a second one was made: half of the images are mirrored. 200 "
    "children learn, all others tell: how many who have both are told both, by a softmax over "
    "three classes (wrong) or by two sigmoids (right)?",
    "No softmax can give two findings more than one half each.",
    measure="share of those with both who are told both",
)
def softmax(d, kind, seed):
    y, plain, mirror = d.easy.labels, d.plain(kind), mirror_of(d, kind)
    train, rest, turned = sides(d, seed, 200)
    x = np.where(turned[:, None] == 1, mirror, plain)
    model = lambda: make_pipeline(StandardScaler(), LogisticRegression(C=1e-3, max_iter=2000))
    ill, side, none = (train[k[train] == 1] for k in (y, turned, (1 - y) * (1 - turned)))
    classes = np.repeat([0, 1, 2], [len(ill), len(side), len(none)])
    shared = model().fit(x[np.concatenate([ill, side, none])], classes)
    both = rest[(y[rest] == 1) & (turned[rest] == 1)]
    told = (shared.predict_proba(x[both])[:, :2] >= 0.5).all(1).mean()
    each = [model().fit(x[train], k[train]).predict_proba(x[both])[:, 1] for k in (y, turned)]
    right = (np.stack(each) >= 0.5).all(0).mean()
    return {"wrong": told, "wrong_true": 1.0, "right": right, "right_true": 1.0}
