"""Models that need no toolkit of their own, from training to service: scikit-learn, ONNX graphs, Python callables."""

from __future__ import annotations

import pytest

from ...endtoend.conftest import Project
from ..life import live

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own, of which there are many

FLOWER = {"sepal_length": 6.1, "sepal_width": 2.8, "petal_length": 4.7, "petal_width": 1.2}
WAGE = {"educ": 12, "exper": 5, "occupation": "job 5"}
SERVED = [FLOWER, FLOWER | {"petal_length": 1.3, "petal_width": 0.2}]

LOOP = '''\
"""Flowers."""

from sklearn.datasets import load_iris

from perennial import Loop, require, retrain

loop = Loop("flowers", target="species")


@loop.collect
def flowers():
    frame = load_iris(as_frame=True).frame.rename(columns=lambda name: name.replace(" (cm)", "").replace(" ", "_"))
    frame["species"] = load_iris().target_names[frame.pop("target")]
    return frame


TRAIN


loop.require(require.better_than_baseline("accuracy"))
loop.retrain(retrain.never())
'''

WAGES = '''\
"""Wages by a pipeline of scikit-learn with an occupation in words, and the logarithm of experience as a feature."""

import numpy as np
from linearmodels.datasets import wage_panel
from sklearn.compose import make_column_transformer
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from perennial import Loop, require, retrain

loop = Loop("wages", target="lwage", key="nr")


@loop.collect
def wages():
    frame = wage_panel.load()[["nr", "educ", "exper", "occupation", "lwage"]]
    frame["occupation"] = "job " + frame["occupation"].astype(str)
    return frame


@loop.features
def features(wages):
    return wages.assign(long=np.log1p(wages["exper"]))


@loop.train
def model(X, y):
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["occupation"]), remainder=StandardScaler()
    )
    return make_pipeline(columns, Ridge()).fit(X, y)


loop.require(require.better_than_baseline("rmse"))
loop.retrain(retrain.never())
'''

FOREST = """\
@loop.train
def model(X, y):
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(20, max_depth=4, random_state=0).fit(X, y)
"""

GRAPH = """\
@loop.train
def model(X, y):
    import numpy as np
    from skl2onnx import to_onnx
    from sklearn.linear_model import LogisticRegression

    x = X.to_numpy().astype(np.float32)
    return to_onnx(LogisticRegression(max_iter=500).fit(x, y), x[:1], options={"zipmap": False})
"""

RULE = '''\
def longest(X):
    """A rule that a botanist wrote."""
    return ["setosa" if row < 2.5 else "versicolor" if row < 4.9 else "virginica" for row in X["petal_length"]]


@loop.train
def model(X, y):
    return longest
'''

NEAREST = '''\
class Nearest:
    """The mean flower of each kind, and how near a flower is to each."""

    def fit(self, X, y):
        self.classes_ = sorted(set(y))
        self.means = {name: X[list(y == name)].mean() for name in self.classes_}
        return self

    def predict_proba(self, X):
        import numpy as np

        near = np.column_stack([np.exp(-((X - self.means[name]) ** 2).sum(axis=1)) for name in self.classes_])
        return near / near.sum(axis=1, keepdims=True)

    def predict(self, X):
        return [self.classes_[i] for i in self.predict_proba(X).argmax(axis=1)]


@loop.train
def model(X, y):
    return Nearest().fit(X, y)
'''


def test_a_pipeline_of_scikit_learn_lives_from_training_to_service(project: Project) -> None:
    project.write(loop=WAGES)
    rows = [WAGE, WAGE | {"educ": 16}, WAGE | {"occupation": "job 1"}, WAGE | {"occupation": "never seen"}]
    live(project, "wages", rows, task="regression", relative=1e-6, kind="sklearn", method="linear")


def test_a_forest_of_scikit_learn_lives_from_training_to_service(project: Project) -> None:
    project.write(("TRAIN\n", FOREST), loop=LOOP)
    told = live(project, "flowers", SERVED, task="classification", relative=1e-5, kind="sklearn", method="tree")
    assert [row["prediction"] for row in told["serving"]] == ["versicolor", "setosa"]


def test_an_onnx_graph_lives_from_training_to_service(project: Project) -> None:
    project.write(("TRAIN\n", GRAPH), loop=LOOP)
    told = live(project, "flowers", SERVED, task="classification", relative=1e-5, kind="onnx", method="sampled")
    assert [row["prediction"] for row in told["serving"]] == ["versicolor", "setosa"]
    assert set(told["serving"][0]["probabilities"]) == {"setosa", "versicolor", "virginica"}


def test_a_function_lives_from_training_to_service(project: Project) -> None:
    project.write(("TRAIN\n", RULE), loop=LOOP)
    told = live(project, "flowers", SERVED, task="classification", relative=1e-9, kind="python", method="sampled")
    assert [row["prediction"] for row in told["serving"]] == ["versicolor", "setosa"]
    assert "probabilities" not in told["serving"][0]


def test_a_class_of_the_users_own_lives_from_training_to_service(project: Project) -> None:
    project.write(("TRAIN\n", NEAREST), loop=LOOP)
    told = live(project, "flowers", SERVED, task="classification", relative=1e-9, kind="python", method="sampled")
    assert [row["prediction"] for row in told["serving"]] == ["versicolor", "setosa"]
    assert sum(told["serving"][0]["probabilities"].values()) == pytest.approx(1.0)
