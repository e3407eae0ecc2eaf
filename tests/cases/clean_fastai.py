"""fastai: the validation patients stand in a column of the table, the test is another file."""

import pandas as pd
from fastai.callback.tracker import EarlyStoppingCallback, SaveModelCallback
from fastai.vision.all import (
    CategoryBlock,
    ColReader,
    ColSplitter,
    DataBlock,
    ImageBlock,
    Resize,
    RocAucBinary,
    aug_transforms,
    resnet34,
    set_seed,
    vision_learner,
)
from sklearn.metrics import classification_report, roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold

set_seed(42, reproducible=True)
df = pd.read_csv("train.csv")
folds = StratifiedGroupKFold(n_splits=5, shuffle=True, random_state=42)
_, valid = next(folds.split(df, df["label"], groups=df["patient_id"]))
df["is_valid"] = df.index.isin(valid)

block = DataBlock(
    blocks=(ImageBlock, CategoryBlock),
    get_x=ColReader("path"),
    get_y=ColReader("label"),
    splitter=ColSplitter("is_valid"),
    item_tfms=Resize(320, method="pad", pad_mode="zeros"),
    batch_tfms=aug_transforms(do_flip=False, max_rotate=5, max_warp=0),
)
dls = block.dataloaders(df, bs=32)
learn = vision_learner(dls, resnet34, metrics=[RocAucBinary()])
keep = [SaveModelCallback("valid_loss"), EarlyStoppingCallback("valid_loss", patience=3)]
learn.fine_tune(20, cbs=keep)

test = pd.read_csv("test.csv")
assert not set(test["patient_id"]) & set(df["patient_id"])
scores, _ = learn.get_preds(dl=dls.test_dl(test))
probability = scores[:, 1].numpy()
print("AUROC", roc_auc_score(test["label"], probability))
print(classification_report(test["label"], probability >= 0.5))
