"""A model of h2o from training to service; the cluster that trained it is gone by then."""

from __future__ import annotations

from ...endtoend.conftest import Project
from ..life import live

FLOWERS = '''\
"""Flowers, by h2o's gradient boosting, with a category and missing values."""

import h2o
from h2o.estimators import H2OGradientBoostingEstimator
from sklearn.datasets import load_iris

from perennial import Loop, require, retrain
from perennial.models.flavors.h2o import Mojo
from perennial.models.flavors.processes.h2o_cluster import cluster

loop = Loop("flowers", target="species")


@loop.collect
def flowers():
    frame = load_iris(as_frame=True).frame.rename(columns=lambda name: name.replace(" (cm)", "").replace(" ", "_"))
    frame["species"] = load_iris().target_names[frame.pop("target")]
    frame["garden"] = ["north" if i % 3 else "south" for i in range(len(frame))]
    frame.loc[::10, "garden"] = None
    frame.loc[::7, "sepal_width"] = None
    return frame


@loop.train
def model(X, y, *, trees: int = 10):
    # A cluster for each fit: `h2o.init` would find that of the fit before, which is still ending, at the usual port.
    with cluster() as url:
        connection = h2o.connect(url=url, verbose=False, strict_version_check=False)
        h2o.no_progress()
        frame = h2o.H2OFrame(X.assign(species=y))
        found = H2OGradientBoostingEstimator(ntrees=trees, seed=1)
        found.train(y="species", training_frame=frame)
        made = Mojo.of(found)
        connection.close()
    return made


loop.require(require.better_than_baseline("accuracy"))
loop.retrain(retrain.never())
'''
FLOWER = {"sepal_length": 6.1, "sepal_width": 2.8, "petal_length": 4.7, "petal_width": 1.2, "garden": "north"}


def test_a_classifier_lives_from_training_to_service(project: Project) -> None:
    project.write(loop=FLOWERS)
    rows = [FLOWER, FLOWER | {"petal_length": 1.3, "petal_width": 0.2, "garden": None}, FLOWER | {"sepal_width": None}]
    told = live(project, "flowers", rows, task="classification", relative=1e-9, kind="h2o", method="sampled")
    assert [row["prediction"] for row in told["serving"]] == ["versicolor", "setosa", "versicolor"]
    assert set(told["serving"][0]["probabilities"]) == {"setosa", "versicolor", "virginica"}
