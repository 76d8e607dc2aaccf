"""scikit-learn: any estimator or pipeline. Stored as skops where every type in it is known, else as a pickle.

skops holds arrays and the names of types, and loads only types that are allowed here, so it runs no code of the
model's; a pickle is code. Which of the two it is depends on what the pipeline is made of: a function of the user's in
a FunctionTransformer makes it a pickle.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, cast

import polars as pl

from perennial.errors import Corrupt, UserCodeError
from perennial.models.flavors.flavor import Format, Saved
from perennial.models.flavors.python import PICKLE, ObjectScorer, examined, pickled, unpickled
from perennial.models.policy import allowed_types
from perennial.models.signature import Signature
from perennial.types import JSON

__all__ = ["TRUSTED", "Sklearn", "load_skops", "untrusted"]

SKOPS = Format(runs_code=False, main="model.skops", begins=b"PK\x03\x04")

# Types of scikit-learn's that skops itself does not list: plain data with code in C or Python of the library's own.
TRUSTED = frozenset(
    {
        "sklearn._loss.link.HalfLogitLink",
        "sklearn._loss.link.IdentityLink",
        "sklearn._loss.link.Interval",
        "sklearn._loss.link.LogLink",
        "sklearn._loss.link.LogitLink",
        "sklearn._loss.link.MultinomialLogit",
        "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.compose._column_transformer._RemainderColsList",
        "sklearn.neighbors._ball_tree.BallTree64",
        "sklearn.neighbors._kd_tree.KDTree64",
        "sklearn.preprocessing._encoders._NaNCounter",
        "sklearn.tree._tree.Tree",
    }
)


class Sklearn:
    """scikit-learn."""

    name = "sklearn"
    extra = ""
    formats: ClassVar[Mapping[str, Format]] = MappingProxyType({"skops": SKOPS, "pickle": PICKLE})

    def recognises(self, model: object) -> bool:
        return type(model).__module__.startswith("sklearn.") and hasattr(model, "predict")

    def scorer(self, model: Any, signature: Signature, x: pl.DataFrame) -> ObjectScorer:
        return examined(model, signature, x)

    def save(self, model: Any, signature: Signature) -> Saved:
        import sklearn

        told = {"sklearn_version": sklearn.__version__, "code": None}
        data = _dumped(model)
        if data is not None and not untrusted(data):
            trusted: list[JSON] = [*sorted(_needed(data))]
            block: JSON = {
                **told,
                "pickled_model": SKOPS.main,
                "serialization_format": "skops",
                "skops_trusted_types": trusted,
            }
            return Saved(files={SKOPS.main: data}, format="skops", mlflow={"sklearn": block})
        block = {**told, "pickled_model": PICKLE.main, "serialization_format": "cloudpickle"}
        return Saved(files={PICKLE.main: pickled(model)}, format="pickle", mlflow={"sklearn": block})

    def load(self, folder: Path, saved_as: str, options: Mapping[str, JSON], signature: Signature) -> ObjectScorer:
        path = folder / self.formats[saved_as].main
        model = load_skops(path.read_bytes(), str(path)) if saved_as == "skops" else unpickled(path)
        return ObjectScorer(model, options, signature, signature.classes)

    def curves(self, model: Any) -> dict[str, list[float]]:
        last = model[-1] if hasattr(model, "steps") else model
        return {
            name: [float(value) for value in getattr(last, attribute)]
            for name, attribute in (
                ("loss", "loss_curve_"),
                ("validation", "validation_scores_"),
                ("train", "train_score_"),
                ("validation", "validation_score_"),
            )
            if getattr(last, attribute, None) is not None and len(getattr(last, attribute))
        }


def untrusted(data: bytes) -> list[str]:
    """Types in a skops file that are not allowed here."""
    return sorted(set(_needed(data)) - TRUSTED - allowed_types())


def load_skops(data: bytes, where: str) -> Any:
    """The model in a skops file; only types that skops or this list allows, whatever the file says.

    Raises:
        Corrupt: It holds another type, or is no skops file.
        UserCodeError: It does not load with the libraries that are installed.
    """
    import skops.io

    try:
        unknown = untrusted(data)
    except Exception as error:  # skops raises what its parts raise
        raise Corrupt(
            f"this is no skops file: {type(error).__name__}: {error}", where=where, remedy="do not use this package"
        ) from error
    if unknown:
        raise Corrupt(
            f"the model holds the type {unknown[0]}, which is not allowed here",
            where=where,
            remedy="do not use it, or import it as code that a person vouches for",
        )
    try:
        return skops.io.loads(data, trusted=sorted(TRUSTED | allowed_types()))
    except Exception as error:  # an older scikit-learn's state in a newer one
        raise UserCodeError(
            f"the model does not load: {type(error).__name__}: {error}",
            where=where,
            remedy="use the library versions in environment.txt",
        ) from error


def _needed(data: bytes) -> list[str]:
    import skops.io

    return skops.io.get_untrusted_types(data=data)


def _dumped(model: Any) -> bytes | None:
    """The model as a skops file of the same bytes for the same model; None where skops cannot hold it."""
    import skops.io

    try:
        data = _canonical(skops.io.dumps(model))
        if not untrusted(data):
            skops.io.loads(data, trusted=sorted(TRUSTED | allowed_types()))
    except Exception:  # noqa: BLE001  # skops raises what the model's parts raise; a pickle is the other way
        return None
    return data


def _canonical(data: bytes) -> bytes:
    """The file without what differs from call to call: addresses of objects as their ids, and dates."""
    numbers: dict[int, int] = {}

    def renamed(name: str) -> str:
        stem, dot, kind = name.partition(".")
        return f"{numbers.setdefault(int(stem), len(numbers))}{dot}{kind}" if stem.isdigit() else name

    def plain(node: Any) -> Any:
        if isinstance(node, list):
            return [plain(item) for item in cast(list[Any], node)]
        if not isinstance(node, dict):
            return node
        told: dict[str, Any] = {}
        for key, value in cast(dict[str, Any], node).items():
            if key == "__id__" and isinstance(value, int):
                told[key] = numbers.setdefault(value, len(numbers))
            elif key == "file" and isinstance(value, str):
                told[key] = renamed(value)
            else:
                told[key] = plain(value)
        return told

    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as read, zipfile.ZipFile(target, "w") as written:
        schema = json.dumps(plain(json.loads(read.read("schema.json")))).encode()
        parts = {renamed(name): read.read(name) for name in read.namelist() if name != "schema.json"}
        for name, content in [*sorted(parts.items()), ("schema.json", schema)]:
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o600 << 16
            written.writestr(entry, content)
    return target.getvalue()
