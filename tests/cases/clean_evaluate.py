"""Judge a finished model on another hospital: DICOM files, a fixed threshold, groups."""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import torch
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from scipy.stats import norm
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, roc_auc_score


def read(path, side=512):
    file = pydicom.dcmread(path)
    pixels = apply_voi_lut(apply_modality_lut(file.pixel_array, file), file).astype(np.float32)
    if file.PhotometricInterpretation == "MONOCHROME1":
        pixels = pixels.max() - pixels
    pixels = (pixels - pixels.min()) / max(float(np.ptp(pixels)), 1e-6)
    height, width = pixels.shape
    size = max(height, width)
    padded = np.zeros((size, size), np.float32)
    top, left = (size - height) // 2, (size - width) // 2
    padded[top : top + height, left : left + width] = pixels
    image = torch.from_numpy(padded)[None, None]
    return torch.nn.functional.interpolate(image, (side, side), mode="area")[0]


def wilson(hits, n, level=0.95):
    z = norm.ppf(0.5 + level / 2)
    share = hits / n
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return middle - half, middle + half


def main(folder, model_file, settings_file):
    model = torch.jit.load(model_file).eval()
    threshold = json.loads(Path(settings_file).read_text())["threshold"]  # chosen on validation
    table = pd.read_csv(Path(folder, "reads.csv")).drop_duplicates("patient_id")
    scores = []
    with torch.inference_mode():
        for path in table.path:
            scores.append(
                torch.sigmoid(model(read(Path(folder, path)).expand(1, 3, -1, -1))).item()
            )
    table["score"] = scores
    print("AUROC", roc_auc_score(table.label, table.score))
    print("Brier", brier_score_loss(table.label, table.score))
    print(calibration_curve(table.label, table.score, n_bins=8))
    table["found"] = table.score >= threshold
    for column in ("sex", "view", "age_group"):
        for value, part in table.groupby(column):
            ill, healthy = part[part.label == 1], part[part.label == 0]
            sens, spec = ill.found.mean(), 1 - healthy.found.mean()
            print(
                column,
                value,
                len(part),
                f"sensitivity {sens:.2f}",
                wilson(ill.found.sum(), len(ill)),
            )
            print(column, value, f"specificity {spec:.2f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
