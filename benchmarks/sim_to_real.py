"""How far is the phantom from reality? Train on phantoms alone, test on real chest X-rays.

    python benchmarks/sim_to_real.py path/to/chest_xray/train

Nothing of the real set is used to fit anything: the phantoms' numbers come from the literature, and
what a classifier needs to be told (the strength of its penalty) is chosen on phantoms. Reality
differs from them, so it is the strongest penalty that is within one standard error of the best
(Breiman et al., 1984). A fifth of the real patients was looked at while this script was written;
they are reported apart, as "seen". Asserts nothing.
"""

import argparse
import tempfile
from pathlib import Path
from zlib import crc32

import numpy as np
import pandas as pd
from PIL import Image
from scipy.stats import rankdata
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from cxr_tutorial.datasets import ChestXrayDataset, read_folder
from cxr_tutorial.loaders import extract_features, worker_count
from cxr_tutorial.models import MedicalImageClassifier, preprocessing
from cxr_tutorial.parallel.processes import progress
from cxr_tutorial.phantom.cohort import write_cohort
from cxr_tutorial.statistics.bootstrap import evaluate_predictions

PHANTOMS = dict(
    images_per_patient=1.0, severity=(0.2, 1.2), size=(224, 300), sites=200, fractions={"all": 1.0}
)


def thumbnails(cohort: pd.DataFrame, side: int = 12) -> np.ndarray:
    "Images as (n, side * side) ranks of grey levels: blind to detail, brightness and contrast."
    rows = []
    for path in progress(cohort.path, "thumbnails", "image"):
        small = np.asarray(
            Image.open(path)
            .convert("L")
            .resize((224, 224))
            .resize((side, side), Image.Resampling.BOX),
            float,
        )
        rows.append(rankdata(small) / small.size)
    return np.stack(rows)


def network_features(cohort: pd.DataFrame) -> np.ndarray:
    "Features of the frozen ImageNet backbone, of images squeezed as the real ones were."
    model = MedicalImageClassifier(size=224)
    squeeze = v2.Compose([v2.Resize((224, 224)), preprocessing(model)])
    loader = DataLoader(ChestXrayDataset(cohort, squeeze), 32, num_workers=worker_count())
    return extract_features(model.backbone, loader)[0].numpy()


def simplest(features: np.ndarray, labels: np.ndarray) -> tuple[Pipeline, float]:
    """A logistic regression with the strongest penalty within one standard error of the best.

    And its AUROC by cross-validation."""
    scale, strengths = StandardScaler(), np.logspace(-6, -1, 6)
    model = make_pipeline(scale, LogisticRegression(solver="newton-cholesky"))
    search = GridSearchCV(
        model, {"logisticregression__C": strengths}, scoring="roc_auc", cv=5, refit=False
    )
    table = pd.DataFrame(search.fit(features, labels).cv_results_).set_index(
        "param_logisticregression__C"
    )
    best = table.mean_test_score.idxmax()
    enough = table.mean_test_score >= table.mean_test_score[best] - table.std_test_score[
        best
    ] / np.sqrt(5)
    chosen = table.index[enough].min()
    return make_pipeline(scale, LogisticRegression(C=chosen, solver="newton-cholesky")).fit(
        features, labels
    ), table.mean_test_score[chosen]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument(
        "real", help="folder with NORMAL and PNEUMONIA, or splits with them inside"
    )
    arguments.add_argument("--patients", type=int, default=6000, help="simulated patients")
    arguments.add_argument("--seeds", type=int, default=3, help="how many cohorts of phantoms")
    options = arguments.parse_args()
    real, rows = read_folder(options.real), []
    # by number, as when the choice was made: ids did not hold the subtype then
    seen = real.patient_id.map(lambda p: crc32(p.split("_")[0].encode()) % 5 == 0)
    inputs = {"12 x 12 thumbnails": thumbnails, "frozen network features": network_features}
    known = {name: make(real) for name, make in inputs.items()}
    for seed in range(options.seeds):
        with tempfile.TemporaryDirectory() as folder:
            write_cohort(Path(folder, "phantoms"), patients=options.patients, seed=seed, **PHANTOMS)
            phantoms = read_folder(Path(folder, "phantoms"))
            for name, make in inputs.items():
                model, inside = simplest(make(phantoms), phantoms.label)
                predictions = real[["label", "patient_id"]].assign(
                    probability=model.predict_proba(known[name])[:, 1]
                )
                for part, chosen in (("seen", predictions[seen]), ("not seen", predictions[~seen])):
                    auroc = evaluate_predictions(chosen, threshold=0.5, draws=1000).loc["auroc"]
                    rows.append(
                        dict(
                            seed=seed,
                            input=name,
                            patients=part,
                            phantoms=inside,
                            real=auroc.estimate,
                            low=auroc.low,
                            high=auroc.high,
                        )
                    )
    print(f"{len(real)} real images of {real.patient_id.nunique()} patients; AUROC on phantoms")
    print("by cross-validation, on real images with a 95 % interval")
    print(
        pd.DataFrame(rows)
        .set_index(["input", "patients", "seed"])
        .sort_index()
        .round(3)
        .to_string()
    )


if __name__ == "__main__":
    main()
