"""What people run today, written plainly for comparison.

The loop of tutorials, MONAI's cached loader, scikit-learn's folds, and metrics in a loop.
"""

import numpy as np
import torch
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold
from torch import nn
from torch.utils.data import DataLoader, Subset
from torchvision import transforms
from torchvision.datasets import ImageFolder

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def tutorial_loader(folder, rows=None, shuffle=True, workers=0) -> DataLoader:
    "ImageFolder, Resize, ToTensor, Normalize, batches of 16."
    steps = transforms.Compose(
        [transforms.Resize((128, 128)), transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    )
    images = ImageFolder(folder, steps)
    return DataLoader(
        images if rows is None else Subset(images, rows),
        batch_size=16,
        shuffle=shuffle,
        num_workers=workers,
    )


def tutorial_model(
    backbone: nn.Module, features: int, frozen: bool
) -> tuple[nn.Module, torch.optim.Optimizer]:
    "A backbone with a new last layer, as in many tutorials."
    for parameter in backbone.parameters():
        parameter.requires_grad = not frozen
    model = nn.Sequential(backbone, nn.Linear(features, 2))
    return model, torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-3)


def tutorial_epoch(model, optimiser, loader) -> None:
    "One epoch of training."
    loss_of = nn.CrossEntropyLoss()
    model.train()
    for images, labels in loader:
        optimiser.zero_grad()
        loss_of(model(images), labels).backward()
        optimiser.step()


def tutorial_auroc(model, loader) -> float:
    "AUROC over a loader."
    model.eval()
    scores, truth = [], []
    with torch.no_grad():
        for images, labels in loader:
            scores.append(model(images).softmax(1)[:, 1])
            truth.append(labels)
    return roc_auc_score(torch.cat(truth), torch.cat(scores))


def monai_loader(paths, labels, batch_size=16):
    """MONAI's CacheDataset: decoded, resized and scaled once.

    Rotation, shift, zoom, brightness and normalisation for each image anew."""
    from monai.data import CacheDataset
    from monai.data import DataLoader as MonaiLoader
    from monai.transforms import (
        Compose,
        EnsureChannelFirst,
        LoadImage,
        NormalizeIntensity,
        RandAffine,
        RandScaleIntensity,
        RepeatChannel,
        Resize,
        ScaleIntensity,
    )

    turn, shift, zoom = np.deg2rad(7), 0.05 * 128, 0.1
    fixed = [
        LoadImage(reader="PILReader", image_only=True, converter=lambda image: image.convert("L")),
        EnsureChannelFirst(),
        Resize((128, 128)),
        ScaleIntensity(),
    ]
    vary = [
        RandAffine(
            prob=1.0,
            rotate_range=turn,
            translate_range=shift,
            scale_range=zoom,
            padding_mode="zeros",
        ),
        RandScaleIntensity(0.15, prob=1.0),
    ]
    steps = Compose(
        [*fixed, *vary, RepeatChannel(3), NormalizeIntensity(MEAN, STD, channel_wise=True)]
    )

    class Labelled(torch.utils.data.Dataset):
        def __init__(self):
            self.images = CacheDataset(
                list(paths), steps, cache_rate=1.0, num_workers=2, progress=False
            )

        def __len__(self):
            return len(self.images)

        def __getitem__(self, index):
            return self.images[index], labels[index]

    return MonaiLoader(Labelled(), batch_size=batch_size, shuffle=True, num_workers=0)


def sklearn_folds(labels, patients, folds=5) -> np.ndarray:
    "The fold of each image by StratifiedGroupKFold."
    number = np.empty(len(labels), int)
    for fold, (_, test) in enumerate(
        StratifiedGroupKFold(folds, shuffle=True, random_state=0).split(labels, labels, patients)
    ):
        number[test] = fold
    return number


def bootstrap_loop(
    labels, scores, patients, draws, seed=0
) -> np.ndarray:  # (draws, 2): AUROC and AUPRC
    "Draw patients with replacement, call scikit-learn for each draw."
    rng = np.random.default_rng(seed)
    names, number = np.unique(patients, return_inverse=True)
    rows = np.split(np.argsort(number, kind="stable"), np.cumsum(np.bincount(number))[:-1])
    values = []
    for _ in range(draws):
        drawn = np.concatenate([rows[k] for k in rng.integers(len(names), size=len(names))])
        values.append(
            (
                roc_auc_score(labels[drawn], scores[drawn]),
                average_precision_score(labels[drawn], scores[drawn]),
            )
        )
    return np.array(values)
