"""Somebody's own table, loader and model at each entrance: it works, or one line says why not."""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset

from cxr_tutorial.audit.labels import find_label_issues
from cxr_tutorial.audit.looks import encodings, glance_all
from cxr_tutorial.audit.report import audit
from cxr_tutorial.audit.shortcuts import out_of_patient, patient_weights, shortcut_baseline
from cxr_tutorial.cache.features import CachedFeatures, backbone_features, cached_features
from cxr_tutorial.cache.images import cached_image_loader, cached_loaders, decode_once
from cxr_tutorial.environment import on_device
from cxr_tutorial.explain import grad_cam
from cxr_tutorial.files.tables import as_cohort
from cxr_tutorial.generalisation import subgroup_table
from cxr_tutorial.imbalance import imbalance_table
from cxr_tutorial.leakage import patient_rows, permuted_label_probe, split_by_time
from cxr_tutorial.loaders import denormalise, extract_features, make_loaders, show_batch
from cxr_tutorial.models import (
    freeze,
    model_stages,
    parameter_counts,
    parameter_groups,
    preprocessing,
    save_model,
    unfreeze,
)
from cxr_tutorial.splits import LeakageError, assert_no_leakage, chosen_parts
from cxr_tutorial.statistics.bootstrap import evaluate_predictions
from cxr_tutorial.study.study import predict_table, train_model
from cxr_tutorial.training import fit, predict
from cxr_tutorial.transforms import check_augmentation
from cxr_tutorial.uncertainty import bootstrap_interval

N = 8
PATIENTS = list("abcdefgh")
FEATURES = np.random.default_rng(0).random((N, 3), np.float32)
IMAGES = torch.rand(N, 1, 8, 8, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1] * (N // 2))


def refused(function, *things, **options) -> str:
    "The one line with which a function refuses something."
    with pytest.raises((TypeError, ValueError, FloatingPointError)) as stopped:
        function(*things, **options)
    text = str(stopped.value)
    assert "\n" not in text, text
    return text


class Rows(Dataset):
    "Images, labels and patients, or what a test puts in their place."

    def __init__(self, images=IMAGES, labels=LABELS, patients=True, names=False):
        self.images, self.labels, self.patients, self.names = images, labels, patients, names

    def __len__(self):
        return N

    def __getitem__(self, i):
        if self.names:
            return {"image": self.images[i], "label": self.labels[i]}
        row = (self.images[i], self.labels[i], PATIENTS[i])
        return row if self.patients else row[:2]


def loader(**changes) -> DataLoader:
    return DataLoader(Rows(**changes), 4)


def net(*end: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 1), *end)


class Wrapped(nn.Module):
    "A network whose answer is changed by a function."

    def __init__(self, change):
        super().__init__()
        self.net, self.change = net(), change

    def forward(self, images):
        return self.change(self.net(images))


TWO = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(72, 2))
WRONG_MODELS = {
    "a sigmoid at the end": (lambda: net(nn.Sigmoid()), "ends in a sigmoid"),
    "a sigmoid in forward": (lambda: Wrapped(torch.sigmoid), "ends in a sigmoid"),
    "a sigmoid, then squeezed": (lambda: Wrapped(lambda x: x.sigmoid()[:, 0]), "ends in a sigmoid"),
    "a dictionary": (lambda: Wrapped(lambda x: {"logits": x}), "a dictionary with 'logits'"),
    "a tuple": (lambda: Wrapped(lambda x: (x, x)), "2 thing(s): (Tensor, Tensor)"),
    "maps": (lambda: nn.Conv2d(1, 1, 3), "outputs of shape"),
    "a class": (lambda: nn.Linear, "Linear is a class"),
    "a function": (lambda: torch.sigmoid, "not a model"),
}
TAKE_A_MODEL = {
    "predict": lambda model: predict(model, loader()),
    "fit": lambda model: fit(model, loader(), loader(), epochs=1),
    "grad_cam": lambda model: grad_cam(model, IMAGES),
}


@pytest.mark.parametrize("name", TAKE_A_MODEL)
@pytest.mark.parametrize("kind", WRONG_MODELS)
def test_models_that_give_no_logits(kind, name):
    make, expected = WRONG_MODELS[kind]
    assert expected in refused(TAKE_A_MODEL[name], make())


@pytest.mark.parametrize("end", [[], [nn.Softmax(1)]])
def test_two_outputs_for_one_question(end):
    model = nn.Sequential(TWO, *end)
    assert "nn.Linear(..., 1)" in refused(predict, model, loader())
    expected = "ends in a softmax" if end else "2 output(s), but there are 1 label(s)"
    assert expected in refused(fit, model, loader(), loader(), epochs=1)


def test_a_model_that_squeezes_is_as_good():
    plain, squeezed = net(), Wrapped(lambda logits: logits.squeeze(1))
    for name in ("predict", "fit"):
        pd.testing.assert_frame_equal(
            TAKE_A_MODEL[name](plain).drop(columns="seconds", errors="ignore"),
            TAKE_A_MODEL[name](squeezed).drop(columns="seconds", errors="ignore"),
        )
    assert np.array_equal(TAKE_A_MODEL["grad_cam"](plain), TAKE_A_MODEL["grad_cam"](squeezed))


def test_logits_between_0_and_1_are_no_probabilities():
    "An honest model whose logits happen to lie there is not accused, and not even warned of."
    model = net()
    nn.init.zeros_(model[3].weight)
    nn.init.constant_(model[3].bias, 0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert (predict(model, loader()).logit == 0.5).all()


def test_a_model_that_hides_its_last_step_is_warned_of():
    model = Wrapped(lambda logits: logits.detach().sigmoid())
    with pytest.warns(UserWarning, match="if they are probabilities"):
        predict(model, loader())


WHOLE = CachedFeatures([FEATURES], [0, 1] * 4, PATIENTS)
DAMAGED = IMAGES.clone()
DAMAGED[3, 0, 0, 0] = float("nan")
WRONG_LOADERS = {
    "a dictionary": (lambda: {"train": loader(), "val": loader()}, "loaders['val']"),
    "an iterator": (lambda: iter(loader()), "only once"),
    "a data set": (Rows, "not a loader, but Rows"),
    "a table": (lambda: pd.DataFrame({"path": ["a"]}), "not a loader, but DataFrame"),
    "a tensor": (lambda: IMAGES, "not a loader, but Tensor"),
    "paths": (lambda: ["a.png", "b.png"], "not str"),
    "no collate function": (lambda: DataLoader(WHOLE, 4), "collate_fn=identity_collate"),
    "labels 1 and 2": (lambda: loader(labels=LABELS + 1), "found 2"),
    "labels missing": (lambda: loader(labels=LABELS * float("nan")), "found nan"),
    "labels in words": (lambda: [(IMAGES, ["ill"] * N, PATIENTS)], "not 'ill'"),
    "uint8": (lambda: loader(images=(IMAGES * 255).to(torch.uint8)), "torch.uint8"),
    "NaN": (lambda: loader(images=DAMAGED), "1 of 4 images"),
    "no channel": (lambda: loader(images=IMAGES[:, 0]), "the shape (4, 8, 8)"),
    "dictionaries": (lambda: loader(names=True), "a dictionary with 'image', 'label'"),
    "arrays": (lambda: [(IMAGES.numpy(), LABELS, PATIENTS)], "not ndarray"),
    "nothing": (list, "no batch"),
}
TAKE_A_LOADER = {
    "predict": lambda one: predict(net(), one),
    "fit": lambda one: fit(net(), one, loader(), epochs=1),
    "fit val": lambda one: fit(net(), loader(), one, epochs=1),
    "extract_features": lambda one: extract_features(net(), one),
    "cached_features": lambda one: cached_features(net(), one),
}


@pytest.mark.parametrize("name", TAKE_A_LOADER)
@pytest.mark.parametrize("kind", WRONG_LOADERS)
def test_loaders_of_other_shapes(kind, name):
    make, expected = WRONG_LOADERS[kind]
    assert expected in refused(TAKE_A_LOADER[name], make())


@pytest.mark.parametrize("changes", [{"images": IMAGES.double()}, {"labels": LABELS[:, None]}])
@pytest.mark.parametrize("name", TAKE_A_LOADER)
def test_double_precision_and_labels_in_a_column_are_fine(name, changes):
    found, expected = TAKE_A_LOADER[name](loader(**changes)), TAKE_A_LOADER[name](loader())
    if isinstance(found, pd.DataFrame):
        assert list(found) == list(expected)
        assert found.shape == expected.shape


def test_without_patients_there_are_predictions_but_no_interval():
    predictions = predict(net(), loader(patients=False))
    assert list(predictions) == ["label", "logit", "probability"]
    for function in (evaluate_predictions, bootstrap_interval):
        text = refused(function, predictions, 0.5)
        assert "patient_id is missing" in text and "`predict` makes one" in text
    for function in (extract_features, cached_features):
        text = refused(function, net(), loader(patients=False))
        assert "(images, labels, patient ids)" in text


def test_a_network_that_gives_maps_has_no_features():
    for function in (extract_features, cached_features):
        assert "AdaptiveAvgPool2d" in refused(function, nn.Conv2d(1, 1, 3), loader())


WRONG_IMAGES = {
    "uint8": ((IMAGES * 255).to(torch.uint8), "torch.uint8"),
    "an array": (IMAGES.numpy(), "not ndarray"),
    "one image": (IMAGES[0, 0], "the shape (8, 8)"),
    "a loader": (loader(), "not DataLoader"),
}


@pytest.mark.parametrize("kind", WRONG_IMAGES)
def test_images_of_other_shapes(kind):
    images, expected = WRONG_IMAGES[kind]
    for function in (denormalise, lambda x: show_batch(x, LABELS), lambda x: grad_cam(net(), x)):
        assert expected in refused(function, images)


def test_grad_cam_of_any_network():
    assert grad_cam(net(), IMAGES).shape == (N, 8, 8)
    assert "no layer 'layer4'" in refused(grad_cam, net(), IMAGES, "layer4")
    assert "Name an earlier one" in refused(grad_cam, net(), IMAGES, "2")
    assert "no output 1" in refused(grad_cam, net(), IMAGES, None, 1)
    flat = nn.Sequential(nn.Flatten(), nn.Linear(64, 1))
    assert "no convolution" in refused(grad_cam, flat, IMAGES)
    assert "images of a batch" in refused(grad_cam, net(), DAMAGED)


class Traveller(nn.Sequential):
    "A network that notes where it is sent, and stays."

    def to(self, device=None, **options):
        self.places = [*getattr(self, "places", []), str(device)]
        return self


def traveller() -> Traveller:
    "In training mode, but for one layer."
    network = Traveller(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4).eval(), nn.Flatten(), nn.LazyLinear(1)
    )
    network(IMAGES)
    return network


def test_a_borrowed_model_comes_back_as_it_was():
    network = traveller()
    with pytest.raises(KeyError), on_device(network, "cuda") as borrowed:
        borrowed.eval()
        raise KeyError
    assert network.places == ["cuda", "cpu"]
    assert [module.training for module in network] == [True, False, True, True]
    loss = nn.BCEWithLogitsLoss(pos_weight=torch.ones(1))
    with on_device(loss) as on, on_device(len) as function:  # with and without tensors
        assert on is loss and function is len


@pytest.mark.parametrize("use", [predict, extract_features, cached_features, fit])
@pytest.mark.parametrize("broken", [False, True])
def test_whatever_works_with_a_model_borrows_it(use, broken, monkeypatch):
    "On a computer with a GPU, the reader's next line finds the model on the CPU again."
    device = torch.device("cpu:0")  # where it is sent has another name than where it was, "cpu"
    for module in ("environment", "training", "loaders", "cache.features"):
        monkeypatch.setattr(f"cxr_tutorial.{module}.choose_device", lambda: device)
    network, loaders = traveller(), [loader(images=IMAGES / 0 if broken else IMAGES)]
    if use is fit:
        loaders *= 2
    if broken:
        with pytest.raises(FloatingPointError):
            use(network, *loaders)
    else:
        use(network, *loaders)
    assert network.places[0] == "cpu:0" and network.places[-1] == "cpu"
    assert network.places.count("cpu:0") == network.places.count("cpu"), "not given back"
    assert [module.training for module in network] == [True, False, True, True]


NEED_OURS = [preprocessing, freeze, model_stages, unfreeze, parameter_counts, parameter_groups]
NEED_OURS += [lambda m: save_model(m, "never"), lambda m: backbone_features(m, None)]
NEED_OURS += [lambda m: predict_table(m, None)]


@pytest.mark.parametrize("function", NEED_OURS)
def test_functions_that_need_this_courses_classifier(function):
    text = refused(function, net())
    assert text.startswith("not a MedicalImageClassifier, but Sequential")
    assert "take any model" in text and not Path("never").exists()


TAKE_A_COHORT = {
    "chosen_parts": chosen_parts,
    "patient_rows": lambda c: patient_rows(c, 0),
    "split_by_time": split_by_time,
    "imbalance_table": imbalance_table,
    "decode_once": lambda c: decode_once(c, 8),
    "cached_image_loader": lambda c: cached_image_loader(c, 8),
    "cached_loaders": lambda c: cached_loaders(c, 8),
    "glance_all": glance_all,
    "encodings": encodings,
    "patient_weights": patient_weights,
    "out_of_patient": lambda c: out_of_patient(None, FEATURES, c),
    "shortcut_baseline": lambda c: shortcut_baseline(pd.DataFrame(FEATURES), c),
    "find_label_issues": lambda c: find_label_issues(FEATURES, c),
    "train_model": train_model,
}
NO_COHORT = {
    "a list of paths": ["a.png", "b.png"],
    "a table of other columns": pd.DataFrame({"file": ["a.png"], "pid": [1], "y": [0]}),
    "nothing": None,
}


@pytest.mark.parametrize("kind", NO_COHORT)
@pytest.mark.parametrize("name", TAKE_A_COHORT)
def test_tables_that_are_no_cohort(name, kind):
    assert refused(TAKE_A_COHORT[name], NO_COHORT[kind]).startswith("not a cohort table")


def test_a_list_of_paths_is_told_how_to_become_a_table():
    assert "pd.DataFrame({'path': ..." in refused(as_cohort, ["a.png"])
    assert "not a cohort table" in refused(audit, NO_COHORT["a table of other columns"])


def test_predictions_that_are_none():
    good = pd.DataFrame({"label": [0, 1] * 4, "probability": 0.5, "patient_id": PATIENTS})
    for function in (evaluate_predictions, lambda p, t: subgroup_table(p, ["label"], t)):
        for wrong in (good.drop(columns="probability"), good.probability.to_numpy()):
            assert refused(function, wrong, 0.5).startswith("not a table of predictions")
        assert "use expit first" in refused(function, good.assign(probability=3.0), 0.5)
        assert "are missing" in refused(function, good.assign(probability=np.nan), 0.5)


@pytest.fixture
def found(tmp_path) -> pd.DataFrame:
    "A table of four images in folders train and test, two of them the same; without hashes."
    rng, rows = np.random.default_rng(0), []
    for number, part in enumerate(["train", "train", "test", "test"]):
        file = tmp_path / part / f"{number}.png"
        file.parent.mkdir(exist_ok=True)
        grey = rng.integers(0, 255, (16, 16), dtype=np.uint8)
        Image.fromarray(grey).save(file)
        rows.append({"path": str(file), "patient_id": f"p{number}", "label": number % 2})
        rows[-1]["split"] = part
    return pd.DataFrame(rows)


def test_the_split_of_folders_must_be_asked_for(found):
    for function in (make_loaders, cached_loaders):
        text = refused(function, found.assign(image_hash="x", bytes=1), 8, 8)
        assert "which nobody has chosen" in text and "archive_split=True" in text
    assert list(make_loaders(found, None, None, archive_split=True)) == ["train", "test"]
    chosen = found.assign(split=["train", "test", "train", "test"])
    assert list(make_loaders(chosen, None, None)) == ["train", "test"]
    only = found[found.split == "train"]  # one part is no split
    assert list(make_loaders(only, None, None)) == ["train"]


def test_identical_images_are_found_without_hashes(found):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_no_leakage(found)
    Path(found.path[3]).write_bytes(Path(found.path[0]).read_bytes())
    with pytest.raises(LeakageError, match="1 identical images in 2 images"):
        assert_no_leakage(found)


def test_one_file_in_two_parts_is_found(found):
    found.loc[3, "path"] = str(Path(found.path[0]).parent / ".." / "train" / "0.png")
    with pytest.raises(LeakageError, match="1 files in 2 images"):
        assert_no_leakage(found.assign(image_hash=list("abcd")))


def test_one_patient_as_number_and_as_text_is_found(found):
    with pytest.raises(LeakageError, match="1 patients in 2 images"):
        assert_no_leakage(found.assign(patient_id=pd.Series([7, 8, 9, "7"], dtype=object)))


def test_what_was_not_compared_is_said(found):
    Path(found.path[1]).unlink()
    found.loc[2, "patient_id"] = None
    with pytest.warns(UserWarning, match="1 of 4 images have no patient_id; 1 of 4 images have no"):
        assert_no_leakage(found)
    with pytest.warns(
        UserWarning, match="4 of 4 images have no image_hash; 4 of 4 images have no p"
    ):
        assert_no_leakage(found.drop(columns="path").assign(patient_id=PATIENTS[:4]))


def test_missing_ids_are_not_one_patient(found):
    with pytest.warns(UserWarning, match="4 of 4 images have no patient_id"):
        assert_no_leakage(found.assign(patient_id=None))


def test_probe_and_safety_check_say_what_they_need():
    splitters = {"a table": lambda table, seed: table, "three": lambda table, seed: (1, 2, 3)}
    many = np.random.default_rng(0).random((40, 3))
    for splitter in splitters.values():
        text = refused(permuted_label_probe, many, range(40), splitter)
        assert "row numbers (train, test)" in text
    for features in (IMAGES.numpy(), FEATURES * np.nan):
        assert "(n, features)" in refused(permuted_label_probe, features, PATIENTS, patient_rows)
    mask = np.ones((8, 8), bool)
    case = (np.zeros((8, 8), np.uint8), {"lungs": mask, "heart": mask, "opacity": mask})
    for transform in (lambda image: image, lambda image, masks: image, None):
        assert "torchvision.transforms.v2" in refused(check_augmentation, transform, [case])
    assert "a case is an image with its masks" in refused(check_augmentation, None, loader())
