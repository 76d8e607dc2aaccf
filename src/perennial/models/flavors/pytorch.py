"""PyTorch: any `nn.Module` (Lightning's too), and exported programs. Stored as a graph where it is one.

Three forms, the first that works: `graph`, steps and weights as data (`torch_graph`); `state`, weights as safetensors
with the network's class in the package's code; `pickle`, the module as PyTorch pickles it. The last two are code. Each
was compared with the module in memory before it was taken.

A network is asked in evaluation mode, for tensors of the type of its weights. Its `forward` takes one matrix of the
model's columns (`arrays`), the tensor of the only column, a tensor for each argument that is named like a column, or a
mapping from column to tensor where its only argument says so or a column of tensors stands beside others.
"""

from __future__ import annotations

import importlib
import inspect
import io
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, cast

import numpy as np
import polars as pl

from perennial.errors import Corrupt, DataError, UserCodeError
from perennial.models.accelerator import DEVICE
from perennial.models.flavors.arrays import (
    Inputs,
    Meaning,
    Mode,
    answered,
    arrays_of,
    examples,
    meaning_of,
    mode_for,
    must_be_numbers,
    toolkit,
)
from perennial.models.flavors.flavor import Answered, Format, Label, Saved
from perennial.models.flavors.torch_graph import Graph, NotExportable, graph_of, read_graph
from perennial.models.mlflow_folder import within
from perennial.models.signature import Signature
from perennial.types import JSON

__all__ = ["PyTorch", "TorchScorer", "read_file", "read_mlflow"]

GRAPH = Format(runs_code=False, main="model.safetensors")
STATE = Format(runs_code=True, main="model.state.safetensors")
PICKLE = Format(runs_code=True, main="model/model.pth", begins=b"PK\x03\x04")

ELEMENTS = 2**20  # numbers of input that go through a network at once, so that many rows do not fill the memory
_RELATIVE = {"float64": 1e-9, "float32": 1e-5}
_HALF = 1e-2  # 16-bit floats: 8 to 11 bits of mantissa
_SIZES = (2, 1, 5)  # rows for which a stored form must answer like the module
_NEAR = {"rtol": 1e-4, "atol": 1e-5}


@dataclass(frozen=True)
class TorchScorer:
    """A network. Options: `mode` and `names`, how it is given its columns; `dtype`, the type of its weights;
    `answers`, what its output is."""

    model: Any
    options: Mapping[str, JSON]
    signature: Signature
    device: Any
    classes: list[Label] | None = None
    relative: float = 1e-5

    def answer(self, x: pl.DataFrame) -> Answered:
        return answered(self.output(x), cast(Meaning, self.options["answers"]), self.signature)

    def output(self, x: pl.DataFrame) -> np.ndarray[Any, Any]:
        """What the network itself gives, as one array."""
        torch = _torch()
        mode, names = cast(Mode, self.options["mode"]), cast(list[str], self.options["names"])
        dtype = getattr(torch, cast(str, self.options["dtype"]))
        wide = np.float64 if dtype == torch.float64 else np.float32
        arrays = arrays_of(x, mode, names, wide)
        rows = max(1, ELEMENTS // max(1, sum(array[0].size for array in arrays if len(array))))
        parts: list[np.ndarray[Any, Any]] = []
        with torch.no_grad():  # not inference mode: what a network keeps of one call must not spoil it for another
            for start in range(0, max(x.height, 1), rows):
                tensors = [torch.from_numpy(array[start : start + rows]).to(self.device) for array in arrays]
                tensors = [tensor.to(dtype) if tensor.is_floating_point() else tensor for tensor in tensors]
                parts.append(_array(_asked(self.model, mode, names, tensors), len(tensors[0])))
        return np.concatenate(parts)

    def close(self) -> None:
        """Nothing is held but memory."""


class PyTorch:
    """PyTorch."""

    name = "pytorch"
    extra = "torch"
    formats: ClassVar[Mapping[str, Format]] = MappingProxyType({"graph": GRAPH, "state": STATE, "pickle": PICKLE})

    def recognises(self, model: object) -> bool:
        return any((kind.__module__, kind.__name__) in _KINDS for kind in type(model).__mro__)

    def scorer(self, model: Any, signature: Signature, x: pl.DataFrame) -> TorchScorer:
        must_be_numbers(signature.columns)
        told = {**_options(model, signature), "answers": "numbers"}
        asked = _scorer(_graph_in(model) if _is_program(model) else model, told, signature)
        told["answers"] = meaning_of(asked.output(x), signature, getattr(model, "answers", None))
        return _scorer(asked.model, told, signature)

    def save(self, model: Any, signature: Signature) -> Saved:
        torch = _torch()
        if isinstance(model, Graph) or _is_program(model):
            return _saved_graph(_graph_in(model))
        told = {**_options(model, signature), "answers": "numbers"}
        native = _scorer(model, told, signature)
        # Whether a form holds the network is found by trying: PyTorch and the user's class raise what they like.
        reason = ""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # PyTorch's own, while it traces
                graph = graph_of(_exported(native))
            _must_equal(native, _scorer(graph, told, signature))
            return _saved_graph(graph)
        except Exception as error:  # noqa: BLE001
            reason = _first_line(error)
        try:
            data, options = _state_of(native)
            again = _from_state(data, options, "the model")
            _must_equal(native, _scorer(again, told, signature))
            return Saved(files={STATE.main: data}, format="state", options={**options, "not_exported": reason})
        except Exception:  # noqa: BLE001
            data = _pickled(model, torch, reason)
        module = type(model).__module__
        block: JSON = {
            "model_data": "model",
            "pytorch_version": torch.__version__,
            "code": None if module.startswith("torch.") else "code",
        }
        return Saved(
            files={PICKLE.main: data, "model/pickle_module_info.txt": b"pickle"},
            format="pickle",
            options={"not_exported": reason},
            mlflow={"pytorch": block},
        )

    def load(self, folder: Path, saved_as: str, options: Mapping[str, JSON], signature: Signature) -> TorchScorer:
        path = folder / self.formats[saved_as].main
        if saved_as == "graph":
            return _scorer(read_graph(path.read_bytes(), str(path)), options, signature)
        if saved_as == "state":
            return _scorer(_from_state(path.read_bytes(), options, str(path)), options, signature)
        return _scorer(read_file(path), options, signature)

    def curves(self, model: Any) -> dict[str, list[float]]:
        """A module keeps no record of its training; one with an attribute `history` (name -> values) gives it."""
        kept = getattr(model, "history", None)
        if not isinstance(kept, Mapping):
            return {}
        history = cast(Mapping[str, Sequence[float]], kept)
        return {str(name): [float(value) for value in values] for name, values in history.items()}


def read_mlflow(folder: Path, block: Mapping[str, Any]) -> Any:
    """The network in a folder that `mlflow.pytorch` saved: a module, or an exported program.

    Runs code, both as a pickle (`model.pth`, also TorchScript) and as `.pt2`: only where somebody vouched for it.

    Args:
        folder: The one with the MLmodel file; its own code, if any, is already importable.
        block: The `pytorch` flavor of that file.

    Raises:
        UserCodeError: It does not load. Corrupt: There is no model in it.
    """
    _torch()
    data = within(folder, block.get("model_data", "data"))
    data = data if data.is_dir() else data.parent
    path = next((data / name for name in ("model.pt2", "model.pth") if (data / name).is_file()), None)
    if path is None:
        raise Corrupt("an MLflow folder names no PyTorch model in it", where=str(data))
    info = data / "pickle_module_info.txt"
    told = info.read_text().strip() if info.is_file() else "pickle"
    # MLflow's own name here stands for cloudpickle; its files are ordinary pickles when they are read.
    return read_file(path, pickle_module="pickle" if told.startswith("mlflow.") else told)


def read_file(path: Path, *, pickle_module: str = "pickle") -> Any:
    """The network in a file of PyTorch's: an exported program (`.pt2`), TorchScript, or a pickled module.

    Runs code, in each of the three: only where somebody vouched for it.

    Raises:
        UserCodeError: It does not load, or is no network.
    """
    torch = _torch()
    try:
        if path.suffix == ".pt2":
            return torch.export.load(path)
        if _is_torchscript(path):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # PyTorch deprecates TorchScript; files of it are there to be read
                return torch.jit.load(path, map_location="cpu").eval()
        home = importlib.import_module(pickle_module)
        found = torch.load(path, map_location="cpu", weights_only=False, pickle_module=home)
    except Exception as error:  # a pickle can raise anything
        raise _does_not_load(error, str(path)) from error
    if not isinstance(found, torch.nn.Module):
        raise UserCodeError(
            f"this file holds {type(found).__name__}, not a network",
            where=str(path),
            remedy="save the module itself, not its state_dict: torch.save(network, path)",
        )
    return found.eval()


_EXPORTED = ("torch.export.exported_program", "ExportedProgram")
_KINDS = frozenset({("torch.nn.modules.module", "Module"), _EXPORTED, (Graph.__module__, Graph.__name__)})


def _torch() -> Any:
    return toolkit("torch", "PyTorch", "torch")


def _scorer(model: Any, options: Mapping[str, JSON], signature: Signature) -> TorchScorer:
    torch = _torch()
    wanted = os.environ.get(DEVICE, "cpu") == "cuda" and torch.cuda.is_available()
    device = torch.device("cuda" if wanted else "cpu")
    if not isinstance(model, Graph) and model.training:
        model.eval()
    relative = _RELATIVE.get(cast(str, options["dtype"]), _HALF)
    return TorchScorer(model.to(device) if wanted else model, options, signature, device, relative=relative)


def _options(model: Any, signature: Signature) -> dict[str, JSON]:
    names: list[JSON] = [field.name for field in signature.columns]
    if isinstance(model, Graph) or _is_program(model):
        graph = _graph_in(model)
        mode: Mode = mode_for(_inputs_of(model) if graph.inputs > 1 else [], signature.columns)
        wanted: list[JSON] = list(_inputs_of(model)) if mode == "named" else names
        return {"mode": mode, "names": wanted, "dtype": _dtype(graph.tensors.values())}
    asks, takes_mapping = _arguments(model)
    mode = mode_for(asks, signature.columns, takes_mapping=takes_mapping)
    return {"mode": mode, "names": [*asks] if mode == "named" else names, "dtype": _dtype(model.parameters())}


def _arguments(model: Any) -> tuple[list[str], bool]:
    """Names of the arguments that `forward` must be given, and whether its only one is a mapping."""
    schema = getattr(model.forward, "schema", None)  # TorchScript's, which Python cannot look into
    if schema is not None:
        return [one.name for one in schema.arguments if one.name != "self" and not one.has_default_value()], False
    found = inspect.signature(model.forward).parameters.values()
    asks = [one for one in found if one.default is one.empty and one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]
    told = str(getattr(asks[0].annotation, "__origin__", asks[0].annotation)).lower() if len(asks) == 1 else ""
    return [one.name for one in asks], told.startswith(("dict", "mapping", "<class 'dict'>", "typing.dict"))


def _dtype(tensors: Any) -> str:
    floats = [tensor.dtype for tensor in tensors if tensor.is_floating_point()]
    return str(floats[0]).removeprefix("torch.") if floats else "float32"


def _asked(model: Any, mode: Mode, names: Sequence[str], tensors: list[Any]) -> Any:
    if isinstance(model, Graph) or mode in ("matrix", "tensor"):
        return model(*tensors)
    by_name = dict(zip(names, tensors, strict=True))
    return model(**by_name) if mode == "named" else model(by_name)


def _array(output: Any, rows: int) -> np.ndarray[Any, Any]:
    if isinstance(output, tuple | list):
        several = cast(Sequence[Any], output)
        output = several[0] if len(several) == 1 else None
    if not hasattr(output, "detach"):
        raise DataError("the network does not answer one tensor", remedy="let its forward return one tensor")
    found = output.detach().cpu()
    found = found.double() if found.is_floating_point() else found
    array: np.ndarray[Any, Any] = found.numpy()
    return array.reshape(rows) if array.ndim == 0 and rows == 1 else array


def _exported(native: TorchScorer) -> Any:
    torch = _torch()
    mode, names = cast(Mode, native.options["mode"]), cast(list[str], native.options["names"])
    tensors = _example_tensors(native, _SIZES[-1])
    rows = torch.export.Dim("rows", min=1, max=2**31 - 1)
    free = [{0: rows} for _ in tensors]
    by_name, free_by_name = dict(zip(names, tensors, strict=False)), dict(zip(names, free, strict=False))
    if mode == "named":
        return torch.export.export(native.model, (), by_name, dynamic_shapes=free_by_name)
    if mode == "mapping":
        return torch.export.export(native.model, (by_name,), dynamic_shapes=(free_by_name,))
    return torch.export.export(native.model, tuple(tensors), dynamic_shapes=tuple(free))


def _example_tensors(native: TorchScorer, rows: int) -> list[Any]:
    torch = _torch()
    mode, names = cast(Mode, native.options["mode"]), cast(list[str], native.options["names"])
    dtype = getattr(torch, cast(str, native.options["dtype"]))
    arrays: Inputs = arrays_of(examples(native.signature.columns, rows), mode, names, np.float32)
    made = [torch.from_numpy(array).to(native.device) for array in arrays]
    return [tensor.to(dtype) if tensor.is_floating_point() else tensor for tensor in made]


def _must_equal(native: TorchScorer, other: TorchScorer) -> None:
    for seed, rows in enumerate(_SIZES):
        x = examples(native.signature.columns, rows, seed)
        wanted, found = native.output(x), other.output(x)
        if wanted.shape != found.shape or not np.allclose(wanted, found, equal_nan=True, **_NEAR):
            raise NotExportable(f"what is stored answers {rows} rows otherwise")


def _is_program(model: object) -> bool:
    return _EXPORTED in [(kind.__module__, kind.__name__) for kind in type(model).__mro__]


def _graph_in(model: Any) -> Graph:
    if isinstance(model, Graph):
        return model
    try:
        return graph_of(model)
    except NotExportable as error:
        raise DataError(f"this exported program cannot be stored: {error}", remedy="give the module itself") from error


def _inputs_of(model: Any) -> list[str]:
    return [] if isinstance(model, Graph) else list(model.graph_signature.user_inputs)


def _saved_graph(graph: Graph) -> Saved:
    return Saved(files={GRAPH.main: graph.to_bytes()}, format="graph")


def _state_of(native: TorchScorer) -> tuple[bytes, dict[str, JSON]]:
    from safetensors.torch import save

    from perennial.types import canonical_json

    kind = type(native.model)
    arguments: dict[str, JSON] = dict(getattr(native.model, "hparams", None) or {})  # as Lightning keeps them
    canonical_json(arguments)  # raises where they are more than plain values
    if kind.__module__ == "__main__" or "<locals>" in kind.__qualname__:
        raise NotExportable("its class cannot be imported")
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in native.model.state_dict().items()}
    return save(dict(sorted(tensors.items()))), {"class": f"{kind.__module__}:{kind.__qualname__}", "with": arguments}


def _from_state(data: bytes, options: Mapping[str, JSON], where: str) -> Any:
    """A module of the user's class with the stored weights. Runs the class's code: the caller vouches for it."""
    _torch()
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        tensors = load(data)
    except SafetensorError as error:
        raise Corrupt(f"these are no weights: {error}", where=where, remedy="do not use this package") from error
    try:
        home, _, name = cast(str, options["class"]).partition(":")
        kind: Any = importlib.import_module(home)
        for part in name.split("."):
            kind = getattr(kind, part)
        module = kind(**cast(dict[str, Any], options["with"]))
        module.load_state_dict(tensors)
        return module
    except Exception as error:  # the user's own class
        raise _does_not_load(error, where) from error


def _pickled(model: Any, torch: Any, not_exported: str) -> bytes:
    target = io.BytesIO()
    try:
        if isinstance(model, torch.jit.ScriptModule):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                torch.jit.save(model, target)
        else:
            torch.save(model, target)
    except Exception as error:  # whatever a user's object raises when it is pickled
        raise DataError(
            f"the network cannot be stored: {type(error).__name__}: {error}; nor as a graph: {not_exported}",
            remedy="define its class at the top level of the loop's module, without lambda",
        ) from error
    return target.getvalue()


def _is_torchscript(path: Path) -> bool:
    import zipfile

    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _does_not_load(error: Exception, where: str) -> UserCodeError:
    return UserCodeError(
        f"the network does not load: {type(error).__name__}: {error}",
        where=where,
        remedy="use the library versions in environment.txt; its class must be in the loop's module",
    )


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:300]}"
