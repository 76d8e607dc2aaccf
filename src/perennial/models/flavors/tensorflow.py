"""TensorFlow: Keras models, and SavedModels (`tf.Module`, or what `tf.saved_model.load` gives).

Three forms. `keras`: a `.keras` file that holds nothing but data (`keras_archive`). `keras-code`: one that names
classes or functions of the user's, or lambdas; its classes must be in the package's code. `saved-model`: TensorFlow's
own folder; its graph may hold any operator, some of which read and write files, so it counts as code.

A network takes one matrix of the model's columns, the tensor of the only column, or a tensor for each input that is
named like a column (text where the input is text); see `arrays`.
"""

from __future__ import annotations

import importlib
import inspect
import math
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, cast

import numpy as np
import polars as pl

from perennial.errors import Corrupt, DataError, PerennialError, Refused, UserCodeError
from perennial.models.flavors.arrays import (
    Meaning,
    Mode,
    answered,
    arrays_of,
    meaning_of,
    mode_for,
    must_be_numbers,
    toolkit,
)
from perennial.models.flavors.flavor import Answered, Format, Label, Saved
from perennial.models.flavors.keras_archive import canonical, check, code_in
from perennial.models.mlflow_folder import within
from perennial.models.signature import Signature
from perennial.store.scratch import scratch_folder, scratch_of_user
from perennial.types import JSON

__all__ = ["TensorFlow", "TensorFlowScorer", "mlflow_code", "read_file", "read_mlflow"]

FOLDER = "model"
KERAS = Format(runs_code=False, main="model/model.keras", begins=b"PK\x03\x04")
KERAS_CODE = Format(runs_code=True, main="model/model.keras", begins=b"PK\x03\x04")
SAVED_MODEL = Format(runs_code=True, main="model/saved_model.pb", begins=b"\x08\x01")
SERVING = "serving_default"  # the signature that is asked, as TensorFlow's own server does

ELEMENTS = 2**20  # numbers of input that go through a network at once, so that many rows do not fill the memory


@dataclass(frozen=True)
class TensorFlowScorer:
    """A network. Options: `mode` and `names`, how it is given its columns; `dtypes` and `shapes` (without the
    rows), of each input; `answers`, what its output is. `traced`: the function that is asked, where TensorFlow
    runs it."""

    model: Any
    options: Mapping[str, JSON]
    signature: Signature
    call: Callable[[list[np.ndarray[Any, Any]]], np.ndarray[Any, Any]]
    traced: Any = None
    classes: list[Label] | None = None
    relative: float = 1e-5

    def answer(self, x: pl.DataFrame) -> Answered:
        return answered(self.output(x), cast(Meaning, self.options["answers"]), self.signature)

    def output(self, x: pl.DataFrame) -> np.ndarray[Any, Any]:
        """What the network itself gives, as one array."""
        arrays = self._inputs(x)
        rows = max(1, ELEMENTS // max(1, sum(array[0].size for array in arrays if array.ndim > 1) + len(arrays)))
        parts = [self.call([a[start : start + rows] for a in arrays]) for start in range(0, max(x.height, 1), rows)]
        return np.concatenate(parts)

    def close(self) -> None:
        """Nothing is held but memory."""

    def _inputs(self, x: pl.DataFrame) -> list[np.ndarray[Any, Any]]:
        mode, names = cast(Mode, self.options["mode"]), cast(list[str], self.options["names"])
        kinds, shapes = cast(list[str], self.options["dtypes"]), cast(list[list[int]], self.options["shapes"])
        wide = np.float64 if "float64" in kinds else np.float32
        if mode in ("matrix", "tensor"):
            found = arrays_of(x, mode, [], wide)
        else:
            found = [
                x[name].cast(pl.String()).fill_null("").to_numpy()
                if kind == "string"
                else arrays_of(x, mode, [name], wide)[0]
                for name, kind in zip(names, kinds, strict=True)
            ]
        return [
            _typed(array, kind).reshape(len(array), *shape)
            for array, kind, shape in zip(found, kinds, shapes, strict=True)
        ]


class TensorFlow:
    """TensorFlow and Keras."""

    name = "tensorflow"
    extra = "tensorflow"
    formats: ClassVar[Mapping[str, Format]] = MappingProxyType(
        {"keras": KERAS, "keras-code": KERAS_CODE, "saved-model": SAVED_MODEL}
    )

    def recognises(self, model: object) -> bool:
        if _is_keras(model):
            return True
        kinds = [(kind.__module__, kind.__name__) for kind in type(model).__mro__]
        return _TRACKABLE in kinds and _LAYER not in kinds and (callable(model) or hasattr(model, "signatures"))

    def scorer(self, model: Any, signature: Signature, x: pl.DataFrame) -> TensorFlowScorer:
        told: dict[str, JSON] = {**_options(model, signature), "answers": "numbers"}
        asked = _scorer(model, told, signature)
        told["answers"] = meaning_of(asked.output(x), signature, getattr(model, "answers", None))
        return TensorFlowScorer(model, told, signature, asked.call, asked.traced, relative=asked.relative)

    def save(self, model: Any, signature: Signature) -> Saved:
        if _is_keras(model):
            return _saved_keras(model)
        tf = toolkit("tensorflow", "TensorFlow", "tensorflow")
        function = _serving(model, _options(model, signature))
        with scratch_folder(scratch_of_user()) as folder:
            with _quiet():
                tf.saved_model.save(model, str(folder / FOLDER), signatures={SERVING: function})
            files = {
                str(path.relative_to(folder)): path.read_bytes()
                for path in sorted((folder / FOLDER).rglob("*"))
                if path.is_file() and path.name != "fingerprint.pb"  # hashes of the folder, other ones each time
            }
        block: JSON = {"saved_model_dir": FOLDER, "model_type": "tf2-module", "code": None}
        return Saved(files=files, format="saved-model", mlflow={"tensorflow": block})

    def load(self, folder: Path, saved_as: str, options: Mapping[str, JSON], signature: Signature) -> TensorFlowScorer:
        path = folder / self.formats[saved_as].main
        if saved_as == "saved-model":
            return _scorer(_loaded_folder(path.parent), options, signature)
        code = code_in(check(path.read_bytes(), str(path)))
        if saved_as == "keras" and code is not None:
            raise Corrupt(
                f"this Keras file claims to be data, but holds {code}",
                where=str(path),
                remedy="do not use this package",
            )
        custom = cast(dict[str, str], options.get("custom", {})) if saved_as == "keras-code" else {}
        return _scorer(_loaded_keras(path, custom, is_code=saved_as == "keras-code"), options, signature)

    def curves(self, model: Any) -> dict[str, list[float]]:
        kept = getattr(getattr(model, "history", None), "history", None)
        if not isinstance(kept, Mapping):
            return {}
        history = cast(Mapping[str, Sequence[Any]], kept)
        return {
            str(name): [float(value) for value in values]
            for name, values in history.items()
            if all(np.ndim(value) == 0 for value in values)
        }


def read_file(path: Path) -> Any:
    """The network in a `.keras` file that holds nothing but data.

    Raises:
        Refused: It holds code; says what. Corrupt: It is no such file. UserCodeError: It does not load.
    """
    code = code_in(check(path.read_bytes(), str(path)))
    if code is not None:
        raise Refused(
            f"this Keras file holds {code}, which is code",
            where=str(path),
            remedy="load it yourself where you trust it, and let a loop's train step return it",
        )
    return _loaded_keras(path, {}, is_code=False)


def mlflow_code(folder: Path, block: Mapping[str, Any]) -> str | None:
    """What in a folder that MLflow saved would run when it is loaded, in words; None where nothing would."""
    path = _mlflow_file(folder, block)
    if path is None:
        return "a SavedModel, whose graph can read and write files"
    pickled = next(iter(sorted(path.parent.glob("*.cloudpickle"))), None)
    if pickled is not None:
        return f"the pickle {pickled.name}"
    if path.suffix != ".keras":
        return "a Keras file of the old form (HDF5), which may hold code"
    return code_in(check(path.read_bytes(), str(path)))


def read_mlflow(folder: Path, block: Mapping[str, Any]) -> Any:
    """The network in a folder that `mlflow.keras` or `mlflow.tensorflow` saved.

    Runs code where `mlflow_code` says what; ask it before.

    Args:
        folder: The one with the MLmodel file; its own code, if any, is already importable.
        block: The `keras` or `tensorflow` flavor of that file.

    Raises:
        UserCodeError: It does not load. Corrupt: There is no model in it.
    """
    path = _mlflow_file(folder, block)
    if path is None:
        home = within(folder, block.get("saved_model_dir") or f"{block.get('data', 'data')}/model")
        if not (home / "saved_model.pb").is_file():
            raise Corrupt("an MLflow folder names no TensorFlow model in it", where=str(home))
        return _loaded_folder(home)
    is_code = mlflow_code(folder, block) is not None
    custom: dict[str, Any] = {}
    for pickled in sorted(path.parent.glob("*.cloudpickle")):
        import pickle

        custom.update(pickle.loads(pickled.read_bytes()))  # noqa: S301  # the caller asked mlflow_code, and vouches
    return _loaded_keras(path, custom, is_code=is_code)


_KERAS_MODEL = ("keras.src.models.model", "Model")
_LAYER = ("keras.src.layers.layer", "Layer")
_TRACKABLE = ("tensorflow.python.trackable.autotrackable", "AutoTrackable")


def _is_keras(model: object) -> bool:
    return _KERAS_MODEL in [(kind.__module__, kind.__name__) for kind in type(model).__mro__]


def _options(model: Any, signature: Signature) -> dict[str, JSON]:
    names, kinds, shapes = _asked_for(model)
    mode = mode_for(names, signature.columns)
    if mode == "mapping":
        raise DataError(
            "this network takes one input, but a column of tensors stands beside others",
            remedy="give it an input for each column, named like the column",
        )
    if mode in ("matrix", "tensor"):
        given = [len(signature.columns)] if mode == "matrix" else list(signature.columns[0].shape or [])
        wanted = shapes[0] if shapes else []
        names, kinds = [""], kinds[:1] or ["float32"]
        shapes = [wanted if math.prod(wanted) == math.prod(given) else given]
    texts = {name for name, kind in zip(names, kinds, strict=True) if kind == "string"}
    must_be_numbers([field for field in signature.columns if field.name not in texts])
    return {"mode": mode, "names": [*names], "dtypes": [*kinds], "shapes": [[*shape] for shape in shapes]}


def _asked_for(model: Any) -> tuple[list[str], list[str], list[list[int]]]:
    """Names, types and shapes (without rows) of the inputs; unknown sizes give no shape."""
    if _is_keras(model):
        found = list(getattr(model, "inputs", None) or [])
        return (
            [str(one.name) for one in found],
            [str(one.dtype) for one in found],
            [_known(one.shape[1:]) for one in found],
        )
    if SERVING in (getattr(model, "signatures", None) or {}):
        specs: dict[str, Any] = model.signatures[SERVING].structured_input_signature[1]
        return (
            list(specs),
            [spec.dtype.name for spec in specs.values()],
            [_known(spec.shape[1:].as_list() if spec.shape.rank else []) for spec in specs.values()],
        )
    call = getattr(model.__call__, "python_function", model.__call__)
    asks = [one.name for one in inspect.signature(call).parameters.values() if one.default is one.empty]
    asks = [name for name in asks if name != "self"]
    return asks, ["float32"] * len(asks), [[] for _ in asks]


def _known(shape: Sequence[int | None]) -> list[int]:
    return [int(size) for size in shape if size is not None] if None not in shape else []


def _typed(array: np.ndarray[Any, Any], kind: str) -> np.ndarray[Any, Any]:
    return array if kind == "string" else array.astype(kind, copy=False)


def _scorer(model: Any, options: Mapping[str, JSON], signature: Signature) -> TensorFlowScorer:
    relative = 1e-9 if "float64" in cast(list[str], options["dtypes"]) else 1e-5
    if _is_keras(model) and toolkit("keras", "Keras", "tensorflow").config.backend() != "tensorflow":
        keras = toolkit("keras", "Keras", "tensorflow")

        def plain(arrays: list[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
            return np.asarray(keras.ops.convert_to_numpy(_called(model, options, arrays)))

        return TensorFlowScorer(model, options, signature, plain, relative=relative)
    tf = toolkit("tensorflow", "TensorFlow", "tensorflow")
    function = _serving(model, options)
    names = cast(list[str], options["names"])

    def traced(*given: Any) -> Any:
        if names == [""] or function.structured_input_signature[0]:
            return _only(function(*given))
        return _only(function(**dict(zip(names, given, strict=True))))

    def asked(arrays: list[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
        return np.asarray(traced(*[tf.constant(array) for array in arrays]).numpy())

    return TensorFlowScorer(model, options, signature, asked, traced, relative=relative)


def _serving(model: Any, options: Mapping[str, JSON]) -> Any:
    """The function that is asked: the SavedModel's own, or the model's call, traced once for any number of rows."""
    tf = toolkit("tensorflow", "TensorFlow", "tensorflow")
    if not _is_keras(model) and SERVING in (getattr(model, "signatures", None) or {}):
        return model.signatures[SERVING]
    names, kinds = cast(list[str], options["names"]), cast(list[str], options["dtypes"])
    shapes = cast(list[list[int]], options["shapes"])
    specs = [
        tf.TensorSpec([None, *shape], kind, name=name or "x")
        for name, kind, shape in zip(names, kinds, shapes, strict=True)
    ]

    @tf.function(autograph=False)
    def serve(*given: Any) -> Any:
        return _only(_called(model, options, list(given)))

    return serve.get_concrete_function(*specs)


def _called(model: Any, options: Mapping[str, JSON], given: list[Any]) -> Any:
    names = cast(list[str], options["names"])
    training = {"training": False} if _is_keras(model) else {}
    if names == [""]:
        return model(given[0], **training)
    by_name = dict(zip(names, given, strict=True))
    return model(by_name, **training) if _is_keras(model) else model(**by_name)


def _only(output: Any) -> Any:
    """The one tensor in what a network answers."""
    if isinstance(output, Mapping):
        output = list(cast(Mapping[str, Any], output).values())
    if isinstance(output, list | tuple):
        several = cast(Sequence[Any], output)
        if len(several) != 1:
            raise DataError(f"the network answers {len(several)} tensors", remedy="let it answer one")
        return several[0]
    return output


def _saved_keras(model: Any) -> Saved:
    keras = toolkit("keras", "Keras", "tensorflow")
    with scratch_folder(scratch_of_user()) as folder:
        path = folder / "model.keras"
        try:
            with _quiet():
                keras.saving.save_model(model, path)
        except Exception as error:  # whatever a layer of the user's raises
            raise DataError(
                f"the network cannot be stored: {type(error).__name__}: {error}",
                remedy="give its own layers a get_config method",
            ) from error
        data = canonical(path.read_bytes())
    custom: dict[str, JSON] = {
        type(layer).__name__: f"{type(layer).__module__}:{type(layer).__qualname__}"
        for layer in [model, *model._flatten_layers()]  # noqa: SLF001  # the only way into nested layers
        if not type(layer).__module__.startswith("keras.")
    }
    code = code_in(check(data, "the network"))
    block: JSON = {
        "data": FOLDER,
        "keras_version": keras.__version__,
        "keras_backend": keras.config.backend(),
        "save_exported_model": False,
    }
    if code is None:
        return Saved(files={KERAS.main: data}, format="keras", mlflow={"keras": block})
    options: dict[str, JSON] = {"custom": custom, "is_code": code}
    return Saved(files={KERAS.main: data}, format="keras-code", options=options, mlflow={"keras": block})


def _loaded_keras(path: Path, custom: Mapping[str, Any], *, is_code: bool) -> Any:
    keras = toolkit("keras", "Keras", "tensorflow")
    try:
        objects = {name: _imported(home) if isinstance(home, str) else home for name, home in custom.items()}
        with _quiet():
            return keras.saving.load_model(path, custom_objects=objects, compile=False, safe_mode=not is_code)
    except PerennialError:
        raise
    except Exception as error:  # Keras raises what its layers and the user's raise
        raise _does_not_load(error, path) from error


def _loaded_folder(path: Path) -> Any:
    """A SavedModel. Runs its graph: the caller vouches for it."""
    tf = toolkit("tensorflow", "TensorFlow", "tensorflow")
    try:
        with _quiet():
            return tf.saved_model.load(str(path))
    except Exception as error:  # TensorFlow's own errors have no public parent
        raise _does_not_load(error, path) from error


@contextmanager
def _quiet() -> Generator[None]:
    """Without the warnings that Keras and TensorFlow cause themselves, about calls of their own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _imported(home: str) -> Any:
    module, _, name = home.partition(":")
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


def _does_not_load(error: Exception, path: Path) -> UserCodeError:
    return UserCodeError(
        f"the network does not load: {type(error).__name__}: {error}",
        where=str(path),
        remedy="use the library versions in environment.txt; its layers must be in the loop's module",
    )


def _mlflow_file(folder: Path, block: Mapping[str, Any]) -> Path | None:
    """The Keras file in such a folder; None where it is a SavedModel."""
    if block.get("saved_model_dir") or block.get("save_exported_model"):
        return None
    data = within(folder, block.get("data", "data"))
    found = [data / f"model{end}" for end in (".keras", ".h5")]
    return next((path for path in found if path.is_file()), None)
