"""`cxr-tutorial check`: each pattern of code fires on the fault and stays silent without it."""

import ast
import dataclasses
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from conftest import LABEL, NBS, NOTEBOOKS
from PIL import Image
from scipy import ndimage

from cxr_tutorial.dev.command import main
from cxr_tutorial.dev.site import quarto_id
from cxr_tutorial.metrics import choose_threshold
from cxr_tutorial.study import check_report
from cxr_tutorial.study.check import STUDY_CHECKS, check_path, check_study
from cxr_tutorial.study.checklists import FACTS
from cxr_tutorial.study.checks import Material, study_table
from cxr_tutorial.study.checks_code import CODE_CHECKS
from cxr_tutorial.study.checks_source import read_code

USUAL = Path(__file__).parent / "cases" / "usual_notebook.json"


def hits(source: str, tmp_path: Path, suffix: str = ".py") -> dict[str, str]:
    "Kind and level of what is found in a piece of code."
    file = tmp_path / f"code{suffix}"
    file.write_text(source)
    table = study_table(CODE_CHECKS, Material(None, given={"code": read_code(file)}))
    failed = table[table["level"] == "unchecked"]
    assert failed.empty, failed.evidence.tolist()
    return table[table["level"] != "passed"].set_index("kind")["level"].to_dict()


LOOP = """
for epoch in range(20):
    for x, y in train_loader:
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
"""
PATTERNS = {  # kind: pairs of code with the fault, and the same without it
    "code-split-without-groups": [
        (
            "from sklearn.model_selection import train_test_split as tts\na, b = tts(df)",
            "a, b = train_test_split(df.patient_id.unique())",
        ),
        (
            "a, b = torch.utils.data.random_split(images, [80, 20])",
            "df = df.drop_duplicates('patient_id')\na, b = train_test_split(df)",
        ),
        (
            "folds = StratifiedKFold(5)\nfor a, b in folds.split(x, y):\n    pass",
            "folds = StratifiedGroupKFold(5)\nfor a, b in folds.split(x, y, patients):\n    pass",
        ),
        (
            "gen = ImageDataGenerator(rescale=1 / 255, validation_split=0.2)",
            "gen = ImageDataGenerator(rescale=1 / 255)",
        ),
        (
            "dls = ImageDataLoaders.from_folder(path, valid_pct=0.2)",
            "dls = ImageDataLoaders.from_folder(path, train='train', valid='val')",
        ),
        (
            "table = read_folder(cohort(images_per_patient=3))\na, b = train_test_split(table)",
            "table = read_folder(cohort(images_per_patient=1))\na, b = train_test_split(table)",
        ),
    ],
    "code-oversample-before-split": [
        (
            "x, y = SMOTE().fit_resample(x, y)\na, b, c, d = train_test_split(x, y)",
            "a, b, c, d = train_test_split(x, y)\na, c = SMOTE().fit_resample(a, c)",
        ),
        (
            "df = pd.concat([df, positive, positive])\na, b = train_test_split(df)",
            "a, b = train_test_split(df)\na = pd.concat([a, positive, positive])",
        ),
        (
            "more = positive.sample(500, replace=True)\ndf = pd.concat([df, more])\n"
            "a, b = train_test_split(df)",
            "a, b = train_test_split(df.sample(500))",
        ),
        (
            "files = normal_files * 3 + ill\na, b = train_test_split(files)",
            "x = rng.normal(size=9) * 2\na, b = train_test_split(x)",
        ),
    ],
    "code-fit-before-split": [
        (
            "scaler = StandardScaler()\nx = scaler.fit_transform(x)\na, b = train_test_split(x)",
            "a, b = train_test_split(x)\na = scaler.fit_transform(a)\nb = scaler.transform(b)",
        ),
        (
            "x = PCA(20).fit_transform(x)\nscores = cross_val_score(model, x, y)",
            "scores = cross_val_score(make_pipeline(PCA(20), model), x, y)",
        ),
        (
            "x = SelectKBest(k=20).fit_transform(x, y)",
            "x_train = SelectKBest(k=20).fit_transform(x_train, y_train)",
        ),
        (
            "x = SelectKBest(k=20).fit_transform(x, y)",
            "a, b, c, d = train_test_split(x, y)\na = SelectKBest(k=20).fit_transform(a, c)",
        ),
    ],
    "code-facts-of-files": [
        ("features = ['age', 'hospital', 'width']", "features = ['age', 'sex']"),
        ("fit(table, columns=['n_images'])", "pd.DataFrame(rows, columns=['n_images'])"),
    ],
    "code-flips": [
        ("t = transforms.RandomHorizontalFlip()", "t = transforms.RandomRotation(5)"),
        ("t = A.Compose([A.HorizontalFlip(p=0.5)])", "t = A.Compose([A.Rotate(limit=5)])"),
        ("gen = ImageDataGenerator(horizontal_flip=True)", "gen = ImageDataGenerator()"),
        ("x = np.fliplr(x)", "x = np.flipud_not(x)"),
        (
            "dls = block.dataloaders(p, batch_tfms=aug_transforms())",
            "t = aug_transforms(do_flip=False)",
        ),
    ],
    "code-squeezed": [
        ("t = transforms.Resize((224, 224))", "t = transforms.Resize(224)"),
        (
            "x = cv2.resize(x, (224, 224))",
            "x = cv2.resize(x, (224, 224)) if square else letterbox(x, 224)",
        ),
        ("g = gen.flow_from_directory('x', target_size=(224, 224))", "t = resize_and_pad(224)"),
        ("t = Resize(224, method='squish')", "t = Resize(224, method='pad')"),
    ],
    "code-small-images": [
        ("IMG_SIZE = 64", "IMG_SIZE = 224"),
        ("t = transforms.Resize((64, 64))", "t = transforms.Resize((320, 320))"),
        ("g = gen.flow_from_directory('x', target_size=(64, 64))", "batch_size = 64"),
        ("x = cv2.resize(x, (96, 96))", "x = cv2.resize(x, (width, height))"),
    ],
    "code-uncertain-as-negative": [
        ("df['Edema'] = df['Edema'].replace(-1, 0)", "df['Edema'] = df['Edema'].replace(-1, 1)"),
        ("labels = labels.fillna(0)", "ages = ages.fillna(0)"),
        (
            "df['label'] = (df.report == 1).astype(int)",
            "df = df[df.report.isin([0, 1])]\ndf['label'] = (df.report == 1).astype(int)",
        ),
        ("y[y == -1] = 0", "y[y == -1] = 1"),
        ("y = np.where(df.Effusion == 1, 1, 0)", "y = np.where(df.Effusion == 0, 0, 1)"),
        (
            "df.label = df.label.map({-1: 0, 0: 0, 1: 1})",
            "df.label = df.label.map({'n': 0, 'p': 1})",
        ),
    ],
    "code-extremes-only": [
        ("df = df[df.severity.isin([0, 3])]", "df = df[df.site.isin(['a', 'b'])]"),
        ("test = test.query('certainty > 0.9')", "test = test.query('age > 18')"),
        ("df = df[~df.borderline]", "print(df.borderline.mean())"),
    ],
    "code-heat-maps-alone": [
        (
            "maps = grad_cam(model, images)\nshow(maps)",
            "maps = grad_cam(model, images)\nother = grad_cam(random_weights(model), images)",
        ),
    ],
    "code-no-fixed-point": [
        (
            "cam = GradCAM(model)\nshare = hit_rate(cam(x), boxes), hit_rate(random_map, boxes)",
            "cam = GradCAM(model)\nshare = hit_rate(cam(x), boxes), hit_rate(same_point, boxes)",
        ),
        (
            "game = pointing_game(grad_cam(model, x), lesions)",
            "game = pointing_game(grad_cam(model, x), place_of_letters)",
        ),
    ],
    "code-pooled-sources": [
        (
            "df = pd.concat([north.assign(hospital='n'), south.assign(hospital='s')])\n"
            "print(roc_auc_score(df.label, df.p))",
            "df = pd.concat([north.assign(hospital='n'), south.assign(hospital='s')])\n"
            "for _, part in df.groupby('hospital'):\n    print(roc_auc_score(part.label, part.p))",
        ),
        (
            "data = ConcatDataset([NIH_Dataset(a), PadChest_Dataset(b)])\n"
            "print(accuracy_score(*predict(model, data)))",
            "train_data = ConcatDataset([NIH_Dataset(a), PadChest_Dataset(b)])\n"
            "print(accuracy_score(*predict(model, data)))",
        ),
        (
            "a['source'] = 'north'\nb['source'] = 'south'\ndf = pd.concat([a, b])\nf1_score(y, p)",
            "a['dataset'] = 'train'\nb['dataset'] = 'test'\ndf = pd.concat([a, b])\nf1_score(y, p)",
        ),
        (
            "df = pd.concat([nih_test, rsna_test])\nprint(roc_auc_score(df.y, df.p))",
            "df = pd.concat([nih_test, nih_val])\nprint(roc_auc_score(df.y, df.p))",
        ),
    ],
    "code-no-groups": [
        (
            "df.hist('Patient Age')\nprint(roc_auc_score(y, p))",
            "df.hist('Patient Age')\nfor name, part in df.groupby('Patient Age'):\n"
            "    print(roc_auc_score(part.y, part.p))",
        ),
        (
            "df['sex'] = df.sex.map(str)\nprint(classification_report(y, p))",
            "print(recall_score(df.y, df.p), recall_score(*pairs(df[df.sex == 'F'])))",
        ),
    ],
    "code-moved-threshold": [
        (
            "t = choose_threshold(val.y, p_old)\nprint(rates(test.y, p_new, t))",
            "t = choose_threshold(val.y, p_new)\nprint(rates(test.y, q_new, t))",
        ),
        ("THRESHOLD = 0.37\nfound = p > THRESHOLD", "t, f, th = roc_curve(y_val, p)\ncut = th[k]"),
    ],
    "code-wrong-range": [
        (
            "t = v2.Compose([v2.ToDtype(torch.float32), v2.Normalize(mean, std)])",
            "t = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std)])",
        ),
        (
            "t = Compose([ToTensor(), Normalize([127.5], [127.5])])",
            "t = Compose([ToTensor(), Normalize([0.5], [0.5])])",
        ),
        (
            "g = ImageDataGenerator(rescale=1 / 255, preprocessing_function=preprocess_input)",
            "g = ImageDataGenerator(preprocessing_function=preprocess_input)",
        ),
    ],
    "code-stored-values": [
        (
            "x = pydicom.dcmread(f).pixel_array / 4095",
            "d = pydicom.dcmread(f)\nx = apply_modality_lut(d.pixel_array, d)",
        ),
    ],
    "code-random-evaluation": [
        (
            "t = Compose([RandomRotation(9)])\ntest_set = ImageFolder('test', transform=t)",
            "t = Compose([RandomRotation(9)])\ntrain_set = ImageFolder('train', transform=t)\n"
            "test_set = ImageFolder('test', transform=plain)",
        ),
        (
            "t = Compose([RandomRotation(9)])\ndata = ImageFolder('all', t)\n"
            "a, b = random_split(data, [80, 20])",
            "data = ImageFolder('all', plain)\na, b = random_split(data, [80, 20])",
        ),
        (
            "gen = ImageDataGenerator(rotation_range=9)\ntest = gen.flow_from_directory('test')",
            "gen = ImageDataGenerator(rotation_range=9)\ntrain = gen.flow_from_directory('train')",
        ),
        (
            "test_set = XRays(test_files, augment=True)",
            "test_set = XRays(test_files, augment=False)",
        ),
        (
            "def make(train):\n    return Compose([RandomRotation(9)] if train else [])\n"
            "val_set = ImageFolder('val', make(True))",
            "def make(train):\n    return Compose([RandomRotation(9)] if train else [])\n"
            "val_set = ImageFolder('val', make(False))\ntest_tfms = make('test')\n"
            "test_set = ImageFolder('test', transform=test_tfms)",
        ),
        (
            "tfms = {'train': Compose([RandomRotation(9)]), 'val': Compose([])}\n"
            "val_set = ImageFolder('val', transform=tfms['train'])",
            "tfms = {'train': Compose([RandomRotation(9)]), 'val': Compose([])}\n"
            "val_set = ImageFolder('val', transform=tfms['val'])",
        ),
        (
            "tfms = {'train': Compose([]), 'test': Compose([RandomRotation(9)])}",
            "tfms = {'train': Compose([RandomRotation(9)]), 'test': Compose([])}",
        ),
    ],
    "code-new-first-layer": [
        (
            "net = resnet18()\nnet.conv1 = nn.Conv2d(1, 64, 7)",
            "net = resnet18()\nold = net.conv1.weight\nnet.conv1 = nn.Conv2d(1, 64, 7)\n"
            "net.conv1.weight = nn.Parameter(old.sum(1, keepdim=True))",
        ),
        ("net.features[0] = nn.Conv2d(1, 64, 7)", "net.classifier = nn.Linear(1024, 1)"),
    ],
    "code-frozen-but-training": [
        (
            "for p in net.parameters():\n    p.requires_grad = False\nnet.train()",
            "for p in net.parameters():\n    p.requires_grad = False\nnet.train()\n"
            "net.backbone.eval()",
        ),
        (
            "net.requires_grad_(False)\nnet.train()",
            "net.requires_grad_(True)\nnet.train()",
        ),
    ],
    "code-shared-softmax": [
        (
            "findings = 14\nloss = nn.CrossEntropyLoss()",
            "findings = 14\nloss = BCEWithLogitsLoss()",
        ),
    ],
    "code-balanced-twice": [
        (
            "s = WeightedRandomSampler(w, 9)\nloss = nn.BCEWithLogitsLoss(pos_weight=p)",
            "s = WeightedRandomSampler(w, 9)\nloss = nn.BCEWithLogitsLoss()",
        ),
    ],
    "code-no-eval": [
        (
            f"model = resnet18(){LOOP}with torch.no_grad():\n    p = model(x)",
            f"model = resnet18(){LOOP}model.eval()\nwith torch.no_grad():\n    p = model(x)",
        ),
        (
            f"model = resnet18(){LOOP}with torch.set_grad_enabled(False):\n    p = model(x)",
            f"model = resnet18(){LOOP}model.train(phase == 'train')\n"
            "with torch.set_grad_enabled(phase == 'train'):\n    p = model(x)",
        ),
    ],
    "code-last-epoch": [
        (
            f"{LOOP}torch.save(model.state_dict(), 'm.pth')",
            f"{LOOP}    if val_loss < best_loss:\n        torch.save(model.state_dict(), 'm.pth')",
        ),
        ("model.fit(x, y, epochs=20)", "model.fit(x, y, epochs=20, callbacks=[EarlyStopping()])"),
        ("learn.fine_tune(5)", "learn.fine_tune(5, cbs=[SaveModelCallback()])"),
        (
            "learn = vision_learner(dls, resnet34)\nlearn.fit_one_cycle(5)",
            "learn = vision_learner(dls, net, cbs=SaveModelCallback())\nlearn.fit_one_cycle(5)",
        ),
        (
            "train_model(net, loaders['train'], epochs=50)",
            "train_model(net, loaders['train'], loaders['val'], epochs=50)",
        ),
        (
            f"best = thresholds[k]{LOOP}torch.save(model, 'm.pth')",
            f"stopper = EarlyStopping(patience=5){LOOP}    stopper.step(val_loss)",
        ),
    ],
    "code-test-chooses": [
        (
            f"{LOOP}    test_acc = run(test_loader)\n    if test_acc > best_acc:\n        keep()",
            f"{LOOP}    val_acc = run(val_loader)\n    if val_acc > best_acc:\n        keep()",
        ),
        (
            "model.fit(x, y, validation_data=(x_test, y_test))",
            "model.fit(x, y, validation_data=(x_val, y_val))",
        ),
        (
            "best = max(models, key=lambda m: m.score(x_test, y_test))",
            "best = max(models, key=lambda m: m.score(x_val, y_val))",
        ),
        ("k = np.argmax(test_scores)", "k = np.argmax(model.predict(x_test), axis=1)"),
        (
            "for name, m in models:\n    found[name] = accuracy_score(y_test, m.predict(x_test))\n"
            "best = max(found, key=found.get)",
            "for name, m in models:\n    found[name] = accuracy_score(y_val, m.predict(x_val))\n"
            "best = max(found, key=found.get)\nprint(models[best].score(x_test, y_test))",
        ),
    ],
    "code-threshold-on-test": [
        (
            "f, t, th = roc_curve(y_test, p)\nbest = th[np.argmax(t - f)]",
            "f, t, th = roc_curve(y_val, p)\nbest = th[np.argmax(t - f)]",
        ),
        (
            "for t in np.linspace(0, 1):\n    scores.append(f1_score(y_test, p > t))\nmax(scores)",
            "for t in np.linspace(0, 1):\n    scores.append(f1_score(y_val, p > t))\nmax(scores)",
        ),
        ("t = choose_threshold(test.label, p)", "t = choose_threshold(val.label, p)"),
        (
            "for x, y in test_loader:\n    ys.extend(y)\nf, t, th = roc_curve(ys, p)\n"
            "best = th[(t - f).argmax()]",
            "for x, y in test_loader:\n    ys.extend(y)\nf, t, th = roc_curve(ys, p)\nplot(f, t)",
        ),
    ],
    "code-best-of-folds": [
        ("print(max(fold_aucs))", "print(max(fold_aucs), np.mean(fold_aucs))"),
        ("result = cross_val_score(m, x, y).max()", "result = cross_val_score(m, x, y).mean()"),
    ],
    "code-best-of-search": [
        (
            "search = GridSearchCV(m, g).fit(x, y)\nprint(search.best_score_)",
            "search = GridSearchCV(m, g).fit(x, y)\nprint(search.score(x_test, y_test))",
        ),
    ],
    "code-suspects-dropped": [
        (
            "bad = find_label_issues(y, p)\nkept = np.delete(y, bad)\nroc_auc_score(kept, q)",
            "bad = find_label_issues(y, p)\nread_again(bad)\nroc_auc_score(y, q)",
        ),
    ],
    "code-accuracy-only": [
        ("print(accuracy_score(y, p))", "print(accuracy_score(y, p), recall_score(y, p))"),
        (
            "f, t, th = roc_curve(y, p)\nprint('test accuracy', (p > 0.5).mean())",
            "print('accuracy', a, 'sensitivity', s)",
        ),
    ],
    "code-no-interval": [
        ("print(roc_auc_score(y, p))", "print(roc_auc_score(y, p), bootstrap_interval(t, m))"),
        (
            "x, y = SMOTE().fit_resample(x, y)\nroc_auc_score(t, p)",
            "b = [f(resample(t)) for _ in range(1000)]\nroc_auc_score(t, p)",
        ),
    ],
    "code-images-as-patients": [
        (
            "for _ in range(1000):\n    k = rng.integers(0, len(y), len(y))\n"
            "    aucs.append(roc_auc_score(y[k], p[k]))",
            "for _ in range(1000):\n    k = rows_of(rng.choice(patients, len(patients)))\n"
            "    aucs.append(roc_auc_score(y[k], p[k]))",
        ),
    ],
    "code-value-without-prevalence": [
        ("print('PPV', ppv)", "print('PPV', ppv, 'at prevalence', share)"),
    ],
    "code-unseeded": [
        ("a, b = train_test_split(x)", "a, b = train_test_split(x, random_state=0)"),
        ("a, b = train_test_split(x)", "a, b = train_test_split(x, **options)"),
        (
            "torch.manual_seed(0)\nx = x[np.random.permutation(9)]",
            "seed_everything(0)\nx = x[np.random.permutation(9)]",
        ),
        (
            "d = DataLoader(x, shuffle=True)",
            "torch.manual_seed(0)\nd = DataLoader(x, shuffle=True)",
        ),
    ],
    "code-unread": [("def broken(:", "def whole():\n    pass")],
}
CASES = [(kind, number) for kind, pairs in PATTERNS.items() for number in range(len(pairs))]


def test_every_pattern_is_tried():
    assert set(PATTERNS) == {check.kind for check in CODE_CHECKS}


@pytest.mark.parametrize(("kind", "number"), CASES, ids=[f"{k}-{n}" for k, n in CASES])
def test_a_pattern_fires_on_the_fault_and_not_without(kind, number, tmp_path):
    bad, good = PATTERNS[kind][number]
    assert kind in hits(bad, tmp_path), "the fault was not seen"
    assert kind not in hits(good, tmp_path), "an alarm without a fault"


# Wrong cells whose fault stands in the code itself, not in the data, the model or another cell.
IN_CODE = set(
    "unseeded-run raw-dicom-values image-level-leakage oversample-before-split "
    "preprocessing-before-split metadata-leakage temporal-leakage squashed-aspect-ratio flipping "
    "channel-mismatch softmax-for-multilabel threshold-on-test test-set-peeking accuracy-only "
    "ignored-prevalence ignored-uncertainty double-balancing best-fold-reporting "
    "tuning-without-nesting label-noise last-checkpoint moved-threshold extremes-only "
    "uncertain-as-negative too-small-images wrong-input-range".split()
)
FAIR = {("oversample-before-split", "code-split-without-groups")}  # the chapter, not the cell, says
# that each patient has one image


def pitfall_cells() -> dict[tuple[str, str], str]:
    found = {}
    for name in NOTEBOOKS:
        for cell in nbformat.read(NBS / f"{name}.ipynb", 4).cells:
            label = LABEL.search(cell.source) if cell.cell_type == "code" else None
            if label and label[1] in ("wrong", "right"):
                found[label[2], label[1]] = cell.source
    return found


def test_wrong_cells_of_the_course_are_seen_and_right_ones_are_not(tmp_path):
    found = {key: hits(source, tmp_path) for key, source in pitfall_cells().items()}
    told = {key: set(kinds) - {"code-no-interval"} for key, kinds in found.items()}
    missed = {slug for slug in IN_CODE if not told[slug, "wrong"]}
    assert not missed, missed
    for (slug, way), kinds in told.items():
        alarms = {(slug, kind) for kind in kinds}
        assert way == "wrong" or alarms <= FAIR, alarms


def test_the_capstone_has_nothing_to_stop():
    table = check_path(NBS / "course" / "17_capstone.ipynb")
    assert not {"stop", "look"} & set(table["level"]), table.head()


def test_a_usual_notebook_is_told_each_fault(tmp_path):
    "With its line and remedy, from a terminal, in under a minute."
    file = tmp_path / "pneumonia.ipynb"
    file.write_bytes(USUAL.read_bytes())
    start, files = time.perf_counter(), ["--json", "a.json", "--html", "a.html"]
    result = subprocess.run(
        [sys.executable, "-m", "cxr_tutorial.dev.command", "check", "pneumonia.ipynb", *files],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert time.perf_counter() - start < 60
    assert result.returncode == 1 and "Traceback" not in result.stderr
    findings = json.loads((tmp_path / "a.json").read_text())["findings"]
    rows = {row["kind"]: row for row in findings if row["level"] in ("stop", "look", "note")}
    wanted = {
        "code-split-without-groups": "cell 4, line 10: train_set, test_set = random_split",
        "code-flips": "cell 4, line 3: transforms.RandomHorizontalFlip",
        "code-squeezed": "cell 4, line 2: transforms.Resize",
        "code-random-evaluation": "cell 4, line 10: ",
        "code-no-eval": "cell 8, line 2: with torch.no_grad",
        "code-threshold-on-test": "cell 9, line 2: best = thresholds",
        "code-last-epoch": "cell 6, line 14: torch.save",
        "code-accuracy-only": "cell 10, line 2: print",
        "code-unseeded": "cell 4, line 10: ",
        "code-no-interval": "cell 10, line 1: ",
    }
    assert set(rows) == set(wanted)
    page = (tmp_path / "a.html").read_text()
    for kind, place in wanted.items():
        assert any(f"pneumonia.ipynb, {place}" in one for one in rows[kind]["places"]), kind
        assert rows[kind]["remedy"] and rows[kind]["remedy"][:40] in " ".join(page.split())
        assert rows[kind]["chapter"] and kind in result.stdout


FAULTY = {  # in the manner of public code: all that is to be told, and where
    "faulty_script.py": {
        "code-split-without-groups": "line 75: train_x, test_x",
        "code-oversample-before-split": "line 75: train_x, test_x",
        "code-random-evaluation": "line 81: test_loader = DataLoader(XRayDataset(test_x",
        "code-no-eval": "line 57: with torch.set_grad_enabled",
        "code-test-chooses": "line 94: if acc > best_acc",
        "code-threshold-on-test": "line 100: threshold = thresholds[np.argmax(f1)]",
        "code-flips": "line 23: steps += [T.RandomHorizontalFlip(0.5)",
        "code-squeezed": "line 21: steps = [T.Resize((224, 224))",
        "code-unseeded": "line 78: train_loader = DataLoader(",
        "code-no-interval": 'line 102: print("F1"',
    },
    "faulty_notebook.json": {
        "code-split-without-groups": "cell 4, line 1: dls = ImageDataLoaders.from_df",
        "code-oversample-before-split": "cell 5, line 6: X_train, X_test",
        "code-fit-before-split": "cell 5, line 6: X_train, X_test",
        "code-test-chooses": "cell 6, line 5: best_name = max(results",
        "code-threshold-on-test": "cell 8, line 5: best_thr = thr",
        "code-best-of-folds": "cell 7, line 2: print('Best CV",
        "code-flips": "cell 4, line 3: batch_tfms=aug_transforms",
        "code-small-images": "cell 4, line 2: item_tfms=Resize(64",
        "code-squeezed": "cell 4, line 2: item_tfms=Resize(64",
        "code-last-epoch": "cell 4, line 5: learn.fine_tune(5)",
        "code-unseeded": "cell 5, line 6: X_train, X_test",
        "code-no-interval": "cell 8, line 8: print('accuracy'",
        "code-value-without-prevalence": "cell 8, line 8: print('accuracy'",
    },
}
CLEAN = sorted(file.name for file in USUAL.parent.glob("clean_*.py"))


def told_of(name: str, tmp_path: Path) -> pd.DataFrame:
    "What `check` says of one of the cases."
    file = tmp_path / name.replace(".json", ".ipynb")
    file.write_bytes((USUAL.parent / name).read_bytes())
    table = check_path(file)
    return table[table["level"].isin(["stop", "look", "note"])].set_index("kind")


@pytest.mark.parametrize("name", FAULTY)
def test_faults_of_public_styles_are_told(name, tmp_path):
    told = told_of(name, tmp_path)
    assert set(told.index) == set(FAULTY[name])
    for kind, place in FAULTY[name].items():
        assert any(place in one for one in told.places[kind]), (kind, told.places[kind])
        assert told.remedy[kind] and told.chapter[kind]


@pytest.mark.parametrize("name", CLEAN)
def test_correct_scripts_raise_no_alarm(name, tmp_path):
    told = told_of(name, tmp_path)
    assert len(CLEAN) >= 5 and not {"stop", "look"} & set(told["level"]), told.places.tolist()
    assert "code-unread" not in told.index


def test_chapters_and_headings_are_there():
    for check in STUDY_CHECKS:
        name, _, heading = check.chapter.partition("#")
        if not name:
            continue
        cells = nbformat.read(NBS / "course" / f"{name}.ipynb", 4).cells
        text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
        heads = [re.sub("[`*]", "", head).strip() for head in re.findall(r"^#+ (.+)$", text, re.M)]
        assert not heading or heading in heads, check.chapter
        if heading:
            address = check_report._chapter(check.chapter)[1]
            assert address.endswith(f"{name}.html#{quarto_id(heading)}")


def run(*arguments):
    result = CliRunner().invoke(main, ["check", *map(str, arguments)])
    if not isinstance(result.exception, SystemExit | None):
        raise result.exception
    return result


def test_exit_codes(tmp_path):
    flip, clean = tmp_path / "flip.py", tmp_path / "clean.py"
    flip.write_text("t = transforms.RandomHorizontalFlip()")
    clean.write_text("x = 1")
    stop = tmp_path / "stop.py"
    stop.write_text("print(max(fold_aucs))")
    assert [run(file).exit_code for file in (clean, flip, stop)] == [0, 0, 1]
    assert run(flip, "--fail-on", "look").exit_code == 1
    assert run(stop, "--fail-on", "never").exit_code == 0
    assert run(clean, "--code", stop).exit_code == 1
    assert run(tmp_path / "none.py").exit_code == 1
    assert run(tmp_path, "--fail-on", "blue").exit_code == 2


def test_strange_files_give_one_line_or_rows(tmp_path):
    content = {
        "a.yaml": "- 1",
        "b.yaml": "nothing: here",
        "c.ipynb": "{]",
        "d.txt": "x",
        "e.yaml": "columns: [1]",
    }
    for name, text in content.items():
        (tmp_path / name).write_text(text)
        result = run(tmp_path / name)
        assert result.exit_code == 1 and result.output.startswith("Error: "), name
        assert result.output.count("\n") == 1, result.output
    odd = "test: none.csv\nsplit: bad.csv\nthreshold: high\nmodel: x.py:y\ncode: none.py\n"
    (tmp_path / "STUDY.yaml").write_text(odd + "train_transform: boom.py:t\nthreshold_from: x\n")
    (tmp_path / "bad.csv").write_bytes(b"\x00\xff,\n\n")
    (tmp_path / "boom.py").write_text("raise RuntimeError('boom')")
    result = run(tmp_path)
    assert result.exit_code == 0 and "Traceback" not in result.output
    said = " ".join(result.output.split())
    assert "boom" in said or "train_transform" not in said
    assert "high" in said and "none.csv" in said


def test_names_of_files_do_no_harm(tmp_path):
    file = tmp_path / "a<b>\x1b[2J.py"
    file.write_text("t = RandomHorizontalFlip()  # <script>")
    result = run(file, "--html", tmp_path / "a.html")
    assert "\x1b" not in result.output
    page = (tmp_path / "a.html").read_text()
    assert "<script>" not in page and "&lt;script&gt;" in page and "\x1b" not in page


def test_the_course_tables_are_understood():
    "Numbers, words and other column names; and codes of patients that look like numbers."
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, 300)
    table = pd.DataFrame({"Patient ID": np.arange(300), "Diagnosis": label, "y_score": label * 0.5})
    table["Set"] = np.where(np.arange(300) < 200, "training", "testing")
    words = table.assign(Diagnosis=np.where(label, "PNEUMONIA", "NORMAL"))
    first = check_study(split=table, test=table[200:])
    second = check_study(split=words, test=words[200:])
    assert first.drop(columns="places").equals(second.drop(columns="places"))
    level = first.set_index("kind")["level"]
    assert level["patients-on-both-sides"] == "passed" and level["no-validation-part"] == "look"


def test_this_file_knows_only_functions_that_are_asked():
    "No pattern's function is forgotten in the registry."
    source = (NBS.parent / "cxr_tutorial" / "study" / "checks_code.py").read_text()
    public = {node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)}
    public = {name for name in public if not name.startswith("_")} - {"read_material"}
    asked = {check.kind.removeprefix("code-").replace("-", "_") for check in CODE_CHECKS}
    assert public <= asked


def levels(**given) -> dict[str, str]:
    return check_study(**given).set_index("kind")["level"].to_dict()


def test_another_hospital_and_later_patients_are_noted():
    table = pd.DataFrame({"patient_id": range(200), "label": [0, 1] * 100})
    table["split"] = np.repeat(["train", "test"], 100)
    table["site"], table["study_day"] = "north", np.arange(200)
    found = levels(split=table)
    assert found["no-external-test"] == "note" and found["same-time"] == "passed"
    away = table.assign(study_day=table.study_day % 100)
    away["site"] = np.where(table.split == "test", "south", "north")
    found = levels(split=away)
    assert found["no-external-test"] == "passed" and found["same-time"] == "note"


def a_study(folder: Path, shared: int) -> Path:
    "The tables of a folder that `train` has written; some test patients are in training, too."
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"patient_id": [f"p{number}" for number in range(300)]})
    table["label"] = rng.integers(0, 2, 300)
    table["split"] = np.repeat(["train", "val", "test"], [120, 60, 120])
    table.loc[180 : 179 + shared, "patient_id"] = table.patient_id[:shared].to_numpy()
    table["image_hash"] = [f"{number:08x}" for number in range(300)]
    test = table[table.split == "test"].drop(columns="split")
    test["probability"] = np.clip(0.3 * test.label + 0.7 * rng.random(120), 0, 1)
    val = table[table.split == "val"].drop(columns="split")
    val["probability"] = np.clip(0.3 * val.label + 0.7 * rng.random(60), 0, 1)
    folder.mkdir()
    table.to_csv(folder / "split.csv", index=False)
    test.to_csv(folder / "predictions.csv", index=False)
    val.to_csv(folder / "validation_predictions.csv", index=False)
    threshold = choose_threshold(val.label, val.probability)
    metrics = {"threshold": threshold, "threshold_policy": "youden, on validation patients"}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder


def test_the_folder_of_a_study(tmp_path):
    good, bad = a_study(tmp_path / "good", 0), a_study(tmp_path / "bad", 7)
    assert run(good, "--json", tmp_path / "good.json").exit_code == 0
    rows = json.loads((tmp_path / "good.json").read_text())["findings"]
    source = next(row for row in rows if row["kind"] == "threshold-source")
    assert source["level"] == "passed" and "choose on validation images" in source["evidence"]
    result = run(bad, "--json", tmp_path / "bad.json")
    assert result.exit_code == 1
    rows = {row["kind"]: row for row in json.loads((tmp_path / "bad.json").read_text())["findings"]}
    assert rows["patients-on-both-sides"]["level"] == rows["seen-patients"]["level"] == "stop"
    assert "7 of 120 test patients are in train" in rows["seen-patients"]["evidence"]


def test_checklists_are_filled_from_the_study(tmp_path):
    study, file = a_study(tmp_path / "good", 0), tmp_path / "lists.csv"
    assert run(study, "--checklists", file, "--json", tmp_path / "a.json").exit_code == 0
    items = pd.read_csv(file, dtype=str).set_index(["checklist", "item"])
    assert items.loc[("CLAIM 2024", "20")].text.startswith("none of 300 patients")
    assert "AUROC" in items.loc[("CLAIM 2024", "37")].text
    assert items.loc[("CLAIM 2024", "44")].text == "[to be written by you]"
    assert "train 120 images of 120 patients" in items.loc[("TRIPOD+AI", "20")].text
    written = json.loads((tmp_path / "a.json").read_text())["checklists"]
    assert [one["text"] for one in written] == items.text.tolist()
    bad = a_study(tmp_path / "bad", 7)
    assert run(bad, "--checklists", tmp_path / "bad.md").exit_code == 1
    assert "**20** what is kept apart: patients, images, hospitals: stop: Patients on both" in (
        tmp_path / "bad.md"
    ).read_text(encoding="utf-8")
    assert run(study, "--checklists", tmp_path / "lists.doc").exit_code == 2


def test_images_may_be_arrays():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"patient_id": np.arange(40), "label": [0, 1] * 20})
    table["split"] = np.repeat(["train", "test"], 20)
    table["image_hash"] = [f"{number:08x}" for number in range(40)]
    images = ndimage.zoom(rng.random((40, 8, 10)), (1, 12, 12)).clip(0, 1)  # (n, height, width)
    images[30] = images[0]  # in training and in test
    kinds = {}
    forms = {
        "floats": images,
        "bytes": (255 * images).astype(np.uint8),
        "tensors": torch.tensor(images)[:, None].expand(-1, 3, -1, -1),
        "images": [Image.fromarray((255 * one).astype(np.uint8)) for one in images],
    }
    for name, given in forms.items():
        found = check_study(split=table, images=given)
        level = found.set_index("kind")["level"]
        assert level["image-identical-split"] == "stop", name
        assert level["image-encoding"] == "unchecked", name
        kinds[name] = found.kind[found["level"] == "stop"].tolist()
    assert all(one == kinds["floats"] for one in kinds.values()), kinds
    few = check_study(split=table[:5], images=images)
    row = few[few.kind == "image-identical-split"].iloc[0]
    assert "40 arrays, and 5 rows" in row.remedy
    alone = check_study(images=images)
    assert set(alone["level"]) == {"unchecked"}


def test_facts_name_checks_that_there_are():
    kinds = {check.kind for check in STUDY_CHECKS}
    assert {kind for several in FACTS.values() for kind in several} <= kinds


@pytest.mark.parametrize("name", ["check_rates", "check_rates_fresh"])
def test_rates_know_every_check_and_every_pitfall(name):
    rates = json.loads((NBS.parent / "benchmarks" / f"{name}.json").read_text())
    groups = ("tables", "predictions", "transforms", "models")
    measured = [row["check"] for group in groups for row in rates[group]["rows"]]
    measured += [row["check"] for row in rates["pitfalls"]["rows"]["checks"]]
    left_out = ("image-", "described-")  # the audit and descriptions, which have no fault to find
    asked = [check.kind for check in STUDY_CHECKS if not check.kind.startswith(left_out)]
    assert sorted(measured) == sorted(asked)
    pitfalls = {row["pitfall"] for row in rates["pitfalls"]["rows"]["pitfalls"]}
    assert pitfalls == {slug for slug, _ in pitfall_cells()}
    firsts = {one.get("first_seed", 0) for one in rates.values()}
    assert len(firsts) == 1 and (min(firsts) >= 20) == (name == "check_rates_fresh")


def test_a_broken_check_stops_no_other(monkeypatch):
    def broken(material):
        raise RuntimeError("a mistake")

    first = STUDY_CHECKS[0]
    checks = (dataclasses.replace(first, ask=broken), *STUDY_CHECKS[1:])
    monkeypatch.setattr("cxr_tutorial.study.check.STUDY_CHECKS", checks)
    table = pd.DataFrame({"split": ["train", "test"], "patient_id": [1, 2], "label": [0, 1]})
    found = check_study(split=table)
    row = found[found.kind == first.kind].iloc[0]
    assert row["level"] == "unchecked" and "a mistake" in row.evidence
    assert len(found) >= len(STUDY_CHECKS)
