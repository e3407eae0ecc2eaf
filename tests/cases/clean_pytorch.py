"""A pneumonia classifier. Patients are split, validation chooses, test is asked once."""

import argparse
import copy
import random

import numpy as np
import pandas as pd
import torch
from PIL import Image, ImageOps
from sklearn.metrics import roc_auc_score, roc_curve
from sklearn.model_selection import GroupShuffleSplit
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import models, transforms

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def set_seed(seed):
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


class PadToSquare:
    def __call__(self, image):
        side = max(image.size)
        return ImageOps.pad(image, (side, side))


def get_transforms(train):
    size = [PadToSquare(), transforms.Resize(224), transforms.Grayscale(3)]
    end = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    if train:
        return transforms.Compose([*size, transforms.RandomRotation(5), *end])
    return transforms.Compose([*size, *end])


class ChestDataset(Dataset):
    def __init__(self, table, transform):
        self.table, self.transform = table.reset_index(drop=True), transform

    def __len__(self):
        return len(self.table)

    def __getitem__(self, index):
        row = self.table.iloc[index]
        return self.transform(Image.open(row.path)), np.float32(row.label)


def split_patients(table, share, seed):
    splitter = GroupShuffleSplit(1, test_size=share, random_state=seed)
    rest, part = next(splitter.split(table, groups=table.patient_id))
    return table.iloc[rest], table.iloc[part]


@torch.no_grad()
def predict(model, loader, device):
    model.eval()
    scores, labels = [], []
    for images, target in loader:
        scores.append(torch.sigmoid(model(images.to(device))[:, 0]).cpu())
        labels.append(target)
    return torch.cat(labels).numpy(), torch.cat(scores).numpy()


def bootstrap_auc(labels, scores, patients, draws=1000, seed=0):
    rng, names, values = np.random.default_rng(seed), np.unique(patients), []
    rows = {name: np.flatnonzero(patients == name) for name in names}
    for _ in range(draws):
        drawn = np.concatenate([rows[name] for name in rng.choice(names, len(names))])
        if len(np.unique(labels[drawn])) == 2:
            values.append(roc_auc_score(labels[drawn], scores[drawn]))
    return np.percentile(values, [2.5, 97.5])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("table")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    set_seed(args.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"

    table = pd.read_csv(args.table)
    rest, test = split_patients(table, 0.2, args.seed)
    train, val = split_patients(rest, 0.2, args.seed)
    train_set = ChestDataset(train, get_transforms(train=True))
    val_set = ChestDataset(val, get_transforms(train=False))
    test_set = ChestDataset(test, get_transforms(train=False))
    train_loader = DataLoader(train_set, batch_size=32, shuffle=True)
    val_loader = DataLoader(val_set, batch_size=64)
    test_loader = DataLoader(test_set, batch_size=64)

    model = models.densenet121(weights="DEFAULT")
    model.classifier = nn.Linear(1024, 1)
    model = model.to(device)
    weight = torch.tensor((train.label == 0).sum() / (train.label == 1).sum())
    criterion = nn.BCEWithLogitsLoss(pos_weight=weight.to(device))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    best_auc, best_state = 0.0, None
    for epoch in range(args.epochs):
        model.train()
        for images, labels in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(images.to(device))[:, 0], labels.to(device))
            loss.backward()
            optimizer.step()
        val_auc = roc_auc_score(*predict(model, val_loader, device))
        if val_auc > best_auc:
            best_auc, best_state = val_auc, copy.deepcopy(model.state_dict())
        print(epoch, round(val_auc, 3))
    model.load_state_dict(best_state)

    labels, scores = predict(model, val_loader, device)
    fpr, tpr, thresholds = roc_curve(labels, scores)
    threshold = thresholds[np.argmax(tpr - fpr)]
    labels, scores = predict(model, test_loader, device)
    low, high = bootstrap_auc(labels, scores, test.patient_id.to_numpy())
    print(f"AUROC {roc_auc_score(labels, scores):.3f} ({low:.3f} to {high:.3f})")
    called = scores >= threshold
    print("sensitivity", called[labels == 1].mean(), "specificity", 1 - called[labels == 0].mean())


if __name__ == "__main__":
    main()
