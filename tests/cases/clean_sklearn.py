"""Radiomics-like features, scikit-learn: everything inside a pipeline, nested cross-validation."""

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

df = pd.read_parquet("features.parquet")
X = df.filter(like="feature_").to_numpy()
y = df["label"].to_numpy()
groups = df["patient_id"].to_numpy()

outer = StratifiedGroupKFold(n_splits=5, shuffle=True, random_state=0)
rows = []
for fold, (train, test) in enumerate(outer.split(X, y, groups)):
    pipe = make_pipeline(
        StandardScaler(), PCA(30, random_state=0), LogisticRegression(max_iter=2000)
    )
    inner = StratifiedGroupKFold(n_splits=4, shuffle=True, random_state=fold)
    search = GridSearchCV(
        pipe, {"logisticregression__C": [0.01, 0.1, 1]}, scoring="roc_auc", cv=inner
    )
    search.fit(X[train], y[train], groups=groups[train])
    scores = search.predict_proba(X[test])[:, 1]
    rows.append({"fold": fold, "auroc": roc_auc_score(y[test], scores), **search.best_params_})

table = pd.DataFrame(rows)
print(table)
mean, sd = table["auroc"].mean(), table["auroc"].std()
print(f"AUROC {mean:.3f}, standard deviation {sd:.3f}, folds from {table.auroc.min():.3f}")
low, high = mean + np.array([-1, 1]) * 2.78 * sd / np.sqrt(len(table))
print(f"95 % confidence interval {low:.3f} to {high:.3f}, five folds")
