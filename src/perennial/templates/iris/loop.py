"""Which iris is it? The smallest loop: data, a model, three requirements."""

import pandas as pd
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from perennial import Loop, require, retrain

loop = Loop("iris", target="species")


@loop.collect
def flowers() -> pd.DataFrame:
    iris = load_iris(as_frame=True)
    return iris.data.assign(species=iris.target_names[iris.target])


@loop.train
def model(X, y, *, C: float = 1.0):  # smaller C: a simpler model
    return make_pipeline(StandardScaler(), LogisticRegression(C=C)).fit(X, y)


loop.require(
    require.better_than_baseline("accuracy"),
    require.better_than_live("accuracy"),
    require.metric("accuracy", at_least=0.80),  # 30 flowers are held out: fewer than seven of them wrong
)
loop.retrain(retrain.never())  # these flowers were picked in 1935
