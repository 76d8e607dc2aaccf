"""Models of R from training to service: a linear model with factors, and a logistic regression."""

from __future__ import annotations

from ...endtoend.conftest import Project
from ..life import live

WAGES = '''\
"""Wages, by lm in R."""

from linearmodels.datasets import wage_panel

from perennial import Loop, require, retrain
from perennial.models.flavors.r import RModel

loop = Loop("wages", target="lwage", key="nr")


@loop.collect
def wages():
    frame = wage_panel.load()[["nr", "educ", "exper", "occupation", "lwage"]]
    frame["occupation"] = "job " + frame["occupation"].astype(str)
    return frame


@loop.train
def model(X, y, *, degree: int = 2):
    return RModel.fit("train.R", X, y, degree=degree)


loop.require(require.better_than_baseline("rmse"))
loop.retrain(retrain.never())
'''
LM = """
fit <- function(X, y, degree) {
  print(summary(X))
  lm(y ~ educ + poly(exper, degree) + occupation, data = cbind(X, y = y))
}
"""
FLOWERS = '''\
"""Two flowers, by glm in R."""

from sklearn.datasets import load_iris

from perennial import Loop, require, retrain
from perennial.models.flavors.r import RModel

loop = Loop("flowers", target="species")


@loop.collect
def flowers():
    frame = load_iris(as_frame=True).frame.rename(columns=lambda name: name.replace(" (cm)", "").replace(" ", "_"))
    frame["species"] = load_iris().target_names[frame.pop("target")]
    return frame[frame["species"] != "setosa"]


@loop.train
def model(X, y):
    return RModel.fit("train.R", X, y)


loop.require(require.better_than_baseline("accuracy"))
loop.retrain(retrain.never())
'''
GLM = "fit <- function(X, y) glm(y ~ petal_length + petal_width, binomial, data = cbind(X, y = y))"
FLOWER = {"sepal_length": 6.1, "sepal_width": 2.8, "petal_length": 4.7, "petal_width": 1.2}


def test_a_linear_model_lives_from_training_to_service(project: Project) -> None:
    (project.folder / "train.R").write_text(LM)
    project.write(loop=WAGES)
    rows = [{"educ": 12, "exper": 5, "occupation": "job 5"}, {"educ": 16, "exper": 1, "occupation": "job 1"}]
    told = live(project, "wages", rows, task="regression", relative=1e-9, kind="r", method="sampled")
    assert told["serving"][0]["prediction"] < told["serving"][1]["prediction"] + 1


def test_a_classifier_lives_from_training_to_service(project: Project) -> None:
    (project.folder / "train.R").write_text(GLM)
    project.write(loop=FLOWERS)
    rows = [FLOWER, FLOWER | {"petal_length": 6.0, "petal_width": 2.2}]
    told = live(project, "flowers", rows, task="classification", relative=1e-9, kind="r", method="sampled")
    assert [row["prediction"] for row in told["serving"]] == ["versicolor", "virginica"]
    assert set(told["serving"][0]["probabilities"]) == {"versicolor", "virginica"}
