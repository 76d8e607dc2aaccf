"""Read the model in a folder that MLflow saved as an object of its toolkit, where its form holds no code.

What a folder claims of itself chooses which reader looks at it, never whether it is believed: each reader refuses
content that is not of its format, and nothing else is tried then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from perennial.errors import Refused
from perennial.models.mlflow_folder import MLflowFolder, within

__all__ = ["own_model"]

Reader = Callable[[Path, Mapping[str, Any]], Any]


def own_model(folder: MLflowFolder, *, may_run_code: bool = False) -> Any:
    """The model as an object of its toolkit; None where only MLflow itself can load it.

    Args:
        folder: As its MLmodel file describes it.
        may_run_code: The person who brings it in vouches for it: readers that run its code may do so, in this process.

    Raises:
        Corrupt: The folder claims a form, and its content is not of it.
        Refused: Only a reader that runs code could load it, and nobody vouches for it.
    """
    for name, block in folder.flavors.items():
        if (read := _DATA.get(name)) is not None:
            return read(folder.path, block)
        if (read := _CODE.get(name)) is not None and may_run_code:
            return read(folder.path, block)
        if read is not None and "python_function" not in folder.flavors:
            raise Refused(
                f"to read a model of MLflow's flavor {name!r} runs code that is in it",
                where=str(folder.path),
                remedy="if you know where it comes from: --trust-code",
            )
    return None


def _sklearn(folder: Path, block: Mapping[str, Any]) -> Any:
    if block.get("serialization_format") != "skops":
        return None
    from perennial.models.flavors.sklearn import load_skops

    path = within(folder, block.get("pickled_model"))
    return load_skops(path.read_bytes(), str(path))


def _xgboost(folder: Path, block: Mapping[str, Any]) -> Any:
    path = within(folder, block.get("data"))
    if block.get("model_format") not in ("json", "ubj", "xgb", None):
        return None
    from perennial.models.flavors.xgboost import read_booster

    booster = read_booster(path)
    kind = {
        "xgboost.sklearn.XGBClassifier": "XGBClassifier",
        "xgboost.sklearn.XGBRegressor": "XGBRegressor",
    }.get(str(block.get("model_class")))
    if kind is None:
        return booster
    import xgboost  # pyright: ignore[reportMissingImports]  # in the extra

    estimator = getattr(xgboost, kind)()
    estimator.load_model(bytearray(path.read_bytes()))
    return estimator


def _lightgbm(folder: Path, block: Mapping[str, Any]) -> Any:
    if block.get("model_class", "lightgbm.basic.Booster") != "lightgbm.basic.Booster":
        return None
    from perennial.models.flavors.lightgbm import read_booster

    return read_booster(within(folder, block.get("data")))


def _onnx(folder: Path, block: Mapping[str, Any]) -> Any:
    from perennial.models.reading import read_onnx

    return read_onnx(within(folder, block.get("data")))


def _keras(folder: Path, block: Mapping[str, Any]) -> Any:
    from perennial.models.flavors.tensorflow import mlflow_code, read_mlflow

    return None if mlflow_code(folder, block) is not None else read_mlflow(folder, block)


def _h2o(folder: Path, block: Mapping[str, Any]) -> Any:
    from perennial.models.flavors.h2o import read_mlflow

    return read_mlflow(folder, block)


def _pytorch(folder: Path, block: Mapping[str, Any]) -> Any:
    from perennial.models.flavors.pytorch import read_mlflow

    return read_mlflow(folder, block)


def _crate(folder: Path, block: Mapping[str, Any]) -> Any:
    from perennial.models.flavors.r import read_mlflow

    return read_mlflow(folder, block)


# The flavor block of MLflow's -> who reads it. A reader of data gives None for a form of the toolkit's that is code.
_DATA: Mapping[str, Reader] = MappingProxyType(
    {
        "sklearn": _sklearn,
        "xgboost": _xgboost,
        "lightgbm": _lightgbm,
        "onnx": _onnx,
        "tensorflow": _keras,
        "keras": _keras,
    }
)
# These run code that is in the folder.
_CODE: Mapping[str, Reader] = MappingProxyType({"h2o": _h2o, "pytorch": _pytorch, "crate": _crate})
