"""PyTorch Lightning with albumentations, 14 findings, the official patient lists."""

import albumentations as A
import cv2
import lightning as L
import numpy as np
import pandas as pd
import timm
import torch
from albumentations.pytorch import ToTensorV2
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch.utils.data import DataLoader, Dataset
from torchmetrics.classification import MultilabelAUROC

FINDINGS = "Atelectasis Cardiomegaly Effusion Infiltration Mass Nodule Pneumonia".split()

square = [A.LongestMaxSize(384), A.PadIfNeeded(384, 384, border_mode=cv2.BORDER_CONSTANT)]
finish = [A.Normalize(), ToTensorV2()]
train_tfms = A.Compose(
    [*square, A.Affine(rotate=(-5, 5), p=0.5), A.RandomBrightnessContrast(), *finish]
)
eval_tfms = A.Compose([*square, *finish])


class Chest14(Dataset):
    def __init__(self, table, tfms):
        self.table, self.tfms = table, tfms

    def __len__(self):
        return len(self.table)

    def __getitem__(self, i):
        row = self.table.iloc[i]
        image = cv2.cvtColor(cv2.imread(row["path"]), cv2.COLOR_BGR2RGB)
        target = torch.tensor(row[FINDINGS].to_numpy(np.float32))
        return self.tfms(image=image)["image"], target


class ChestData(L.LightningDataModule):
    def setup(self, stage=None):
        table = pd.read_csv("labels.csv")
        parts = {
            name: set(open(f"{name}_patients.txt").read().split())
            for name in ("train", "val", "test")
        }
        assert not parts["train"] & parts["test"] and not parts["train"] & parts["val"]
        self.parts = {name: table[table.patient_id.isin(ids)] for name, ids in parts.items()}

    def train_dataloader(self):
        return DataLoader(Chest14(self.parts["train"], train_tfms), 32, shuffle=True, num_workers=4)

    def val_dataloader(self):
        return DataLoader(Chest14(self.parts["val"], eval_tfms), 64, num_workers=4)

    def test_dataloader(self):
        return DataLoader(Chest14(self.parts["test"], eval_tfms), 64, num_workers=4)


class Classifier(L.LightningModule):
    def __init__(self, lr=1e-4):
        super().__init__()
        self.save_hyperparameters()
        self.net = timm.create_model("convnext_tiny", pretrained=True, num_classes=len(FINDINGS))
        self.loss = torch.nn.BCEWithLogitsLoss()
        self.val_auc, self.test_auc = MultilabelAUROC(len(FINDINGS)), MultilabelAUROC(len(FINDINGS))

    def training_step(self, batch, index):
        x, y = batch
        return self.loss(self.net(x), y)

    def validation_step(self, batch, index):
        x, y = batch
        self.val_auc.update(self.net(x).sigmoid(), y.int())
        self.log("val_auc", self.val_auc)

    def test_step(self, batch, index):
        x, y = batch
        self.test_auc.update(self.net(x).sigmoid(), y.int())
        self.log("test_auc", self.test_auc)

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=self.hparams.lr)


if __name__ == "__main__":
    L.seed_everything(1, workers=True)
    keep = ModelCheckpoint(monitor="val_auc", mode="max")
    trainer = L.Trainer(
        max_epochs=30, callbacks=[keep, EarlyStopping("val_auc", mode="max", patience=5)]
    )
    model, data = Classifier(), ChestData()
    trainer.fit(model, datamodule=data)
    trainer.test(model, datamodule=data, ckpt_path="best")
