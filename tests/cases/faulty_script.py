"""Pneumonia on chest X-rays, PyTorch. python train.py --data chest_xray --epochs 20"""

import argparse
import os
from glob import glob

import numpy as np
import torch
import torch.nn as nn
from PIL import Image
from sklearn.metrics import f1_score, precision_recall_curve
from sklearn.model_selection import train_test_split
from torch.utils.data import DataLoader, Dataset
from torchvision import models
from torchvision import transforms as T


class XRayDataset(Dataset):
    def __init__(self, paths, labels, augment=False):
        self.paths, self.labels = paths, labels
        steps = [T.Resize((224, 224)), T.Grayscale(3)]
        if augment:
            steps += [T.RandomHorizontalFlip(0.5), T.RandomRotation(10)]
        steps += [T.ToTensor(), T.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])]
        self.transform = T.Compose(steps)

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        image = Image.open(self.paths[index]).convert("L")
        return self.transform(image), self.labels[index]


def get_args():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", default="chest_xray")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--lr", type=float, default=1e-4)
    parser.add_argument("--batch-size", type=int, default=32)
    return parser.parse_args()


def list_files(root):
    normal = glob(os.path.join(root, "NORMAL", "*.jpeg"))
    sick = glob(os.path.join(root, "PNEUMONIA", "*.jpeg"))
    normal = normal * 3  # there are fewer of them
    paths = normal + sick
    labels = [0] * len(normal) + [1] * len(sick)
    return paths, labels


def run_epoch(model, loader, criterion, device, optimizer=None):
    total, correct, scores, targets = 0.0, 0, [], []
    for images, labels in loader:
        images, labels = images.to(device), labels.float().to(device)
        with torch.set_grad_enabled(optimizer is not None):
            logits = model(images)[:, 0]
            loss = criterion(logits, labels)
        if optimizer is not None:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        total += loss.item()
        correct += ((logits > 0) == (labels > 0.5)).sum().item()
        scores += torch.sigmoid(logits).tolist()
        targets += labels.tolist()
    return total / len(loader), correct / len(targets), np.array(scores), np.array(targets)


def main():
    args = get_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    paths, labels = list_files(args.data)
    train_x, test_x, train_y, test_y = train_test_split(
        paths, labels, test_size=0.2, stratify=labels, random_state=42
    )
    train_loader = DataLoader(
        XRayDataset(train_x, train_y, augment=True), args.batch_size, shuffle=True
    )
    test_loader = DataLoader(XRayDataset(test_x, test_y, augment=True), args.batch_size)

    model = models.resnet18(weights="IMAGENET1K_V1")
    model.fc = nn.Linear(model.fc.in_features, 1)
    model.to(device)
    criterion = nn.BCEWithLogitsLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)

    best_acc = 0
    for epoch in range(args.epochs):
        train_loss, train_acc, _, _ = run_epoch(model, train_loader, criterion, device, optimizer)
        loss, acc, scores, targets = run_epoch(model, test_loader, criterion, device)
        print(f"epoch {epoch}: train {train_loss:.3f} {train_acc:.3f} test {loss:.3f} {acc:.3f}")
        if acc > best_acc:
            best_acc = acc
            torch.save(model.state_dict(), "best.pth")

    precision, recall, thresholds = precision_recall_curve(targets, scores)
    f1 = 2 * precision * recall / (precision + recall + 1e-8)
    threshold = thresholds[np.argmax(f1)]
    print("best accuracy", best_acc)
    print("F1", f1_score(targets, scores > threshold), "at", threshold)


if __name__ == "__main__":
    main()
