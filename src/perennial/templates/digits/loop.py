"""Which digit is written here? A loop over a folder of images, one PNG each: images/LABEL/NAME.png."""

from io import BytesIO
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from perennial import Loop, require, retrain, rollout

SIDE = 8  # pixels; an image of another size is scaled to it

loop = Loop("digits", target="digit")


@loop.collect
def scans() -> pl.DataFrame:  # a folder per label; new images are a new dataset version
    files = sorted(Path("images").glob("*/*.png"))
    if not files:
        raise FileNotFoundError("there is no images/LABEL/NAME.png: run `python make_images.py` first")
    return pl.DataFrame({"image": [file.read_bytes() for file in files], "digit": [file.parent.name for file in files]})


@loop.features
def pixels(scans: pl.DataFrame) -> pl.DataFrame:  # a request brings the same PNG, in base64
    grey = [np.asarray(Image.open(BytesIO(png)).convert("L").resize((SIDE, SIDE))).ravel() for png in scans["image"]]
    names = [f"row{row}_column{column}" for row in range(SIDE) for column in range(SIDE)]
    return pl.DataFrame(np.array(grey, dtype=np.float64).reshape(-1, SIDE * SIDE), schema=names)


@loop.train
def model(X, y, *, C: float = 0.05):  # smaller C: a simpler model
    return make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=1000)).fit(X, y)


loop.require(
    require.better_than_baseline("accuracy"),
    require.better_than_live("accuracy"),
    require.metric("accuracy", at_least=0.93),
    require.latency(p99_ms=50),
)
loop.rollout(rollout.shadow(min_labels=100), rollout.canary(0.10))
loop.retrain(retrain.on_performance_drop(), retrain.on_new_rows(500), approval="automatic")
