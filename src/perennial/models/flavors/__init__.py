"""The toolkits whose models can be packaged; each is one file, imported when it is first needed."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, cast

from perennial.errors import Corrupt

if TYPE_CHECKING:
    from perennial.models.flavors.flavor import Flavor

__all__ = ["FLAVORS", "flavor_named", "flavor_of"]

# In the order in which they are asked whether a model is theirs; what nobody else takes is a Python object.
FLAVORS: Mapping[str, str] = MappingProxyType(
    {
        "xgboost": "perennial.models.flavors.xgboost:XGBoost",
        "lightgbm": "perennial.models.flavors.lightgbm:LightGBM",
        "pytorch": "perennial.models.flavors.pytorch:PyTorch",
        "tensorflow": "perennial.models.flavors.tensorflow:TensorFlow",
        "onnx": "perennial.models.flavors.onnx:Onnx",
        "h2o": "perennial.models.flavors.h2o:H2O",
        "r": "perennial.models.flavors.r:R",
        "mlflow": "perennial.models.flavors.mlflow:MLflow",
        "sklearn": "perennial.models.flavors.sklearn:Sklearn",
        "python": "perennial.models.flavors.python:Python",
    }
)


@cache
def flavor_named(name: str) -> Flavor:
    """The flavor of this name.

    Raises:
        Corrupt: There is none: the package was made by another release, or by somebody else.
    """
    home = FLAVORS.get(name)
    if home is None:
        raise Corrupt(
            f"a model package names the toolkit {name!r}, which is unknown here", remedy=f"known: {', '.join(FLAVORS)}"
        )
    module, _, kind = home.partition(":")
    return cast("Flavor", getattr(import_module(module), kind)())


def flavor_of(model: object) -> Flavor:
    """The flavor that takes this model; the last one takes any Python object."""
    return next(found for found in map(flavor_named, FLAVORS) if found.recognises(model))
