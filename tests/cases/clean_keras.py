"""Keras: a folder of patients, divided by patient before anything else."""

import numpy as np
import pandas as pd
import tensorflow as tf
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupShuffleSplit

tf.keras.utils.set_random_seed(7)
SIZE = 320

frame = pd.read_csv("images.csv")
frame["patient"] = frame["file"].str.extract(r"(person\d+|IM-\d+)")[0]
outer = GroupShuffleSplit(n_splits=1, test_size=0.25, random_state=7)
rest, test_rows = next(outer.split(frame, frame["label"], groups=frame["patient"]))
inner = GroupShuffleSplit(n_splits=1, test_size=0.2, random_state=8)
train_df, test_df = frame.iloc[rest], frame.iloc[test_rows]
a, b = next(inner.split(train_df, train_df["label"], groups=train_df["patient"]))
train_df, val_df = train_df.iloc[a], train_df.iloc[b]


def load(path, label):
    image = tf.io.decode_jpeg(tf.io.read_file(path), channels=3)
    return tf.image.resize_with_pad(image, SIZE, SIZE), label


def dataset(df, training):
    data = tf.data.Dataset.from_tensor_slices((df["file"].values, df["label"].values))
    if training:
        data = data.shuffle(len(df), seed=7)
    data = data.map(load)
    if training:
        data = data.map(lambda image, label: (tf.image.random_brightness(image, 20), label))
    return data.batch(16).prefetch(2)


train_ds, val_ds, test_ds = dataset(train_df, True), dataset(val_df, False), dataset(test_df, False)

base = tf.keras.applications.DenseNet121(
    include_top=False, pooling="avg", input_shape=(SIZE, SIZE, 3)
)
inputs = tf.keras.Input((SIZE, SIZE, 3))
x = tf.keras.applications.densenet.preprocess_input(inputs)
x = base(x, training=False)
outputs = tf.keras.layers.Dense(1, activation="sigmoid")(tf.keras.layers.Dropout(0.3)(x))
model = tf.keras.Model(inputs, outputs)
model.compile("adam", "binary_crossentropy", metrics=[tf.keras.metrics.AUC(name="auc")])

stop = tf.keras.callbacks.EarlyStopping("val_loss", patience=4, restore_best_weights=True)
model.fit(train_ds, validation_data=val_ds, epochs=40, callbacks=[stop])

val_scores = model.predict(val_ds)[:, 0]
threshold = np.quantile(val_scores[val_df["label"] == 1], 0.1)  # nine of ten are found
scores = model.predict(test_ds)[:, 0]
labels = test_df["label"].to_numpy()
print("AUROC", roc_auc_score(labels, scores))

rng, values = np.random.default_rng(0), []
patients = test_df["patient"].to_numpy()
for _ in range(1000):
    drawn = pd.Series(rng.choice(np.unique(patients), len(np.unique(patients))))
    rows = np.concatenate([np.flatnonzero(patients == one) for one in drawn])
    if labels[rows].min() < labels[rows].max():
        values.append(roc_auc_score(labels[rows], scores[rows]))
print("95 % interval", np.percentile(values, [2.5, 97.5]))
found = scores >= threshold
print("sensitivity", found[labels == 1].mean(), "specificity", (~found)[labels == 0].mean())
