"""Read a folder that MLflow saved, as plain data: what it takes, what it answers, and in which toolkit's form it is.

What it claims is only told here. `mlflow_models` reads the model itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, cast

import yaml

from perennial.errors import Corrupt, DataError
from perennial.models.signature import ColumnType, Field, Task

__all__ = ["MLflowFolder", "Takes", "read_folder", "within"]

MLMODEL = "MLmodel"
MAX_BYTES = 10 << 20  # of an MLmodel file; those of real models have some kilobytes
MAX_SPREAD = 10_000  # columns that a matrix may be spread over
_TYPES: Mapping[str, ColumnType] = MappingProxyType(
    {
        "boolean": "bool",
        "integer": "int64",
        "long": "int64",
        "float": "float64",
        "double": "float64",
        "string": "string",
        "binary": "binary",
        "datetime": "datetime",
    }
)


@dataclass(frozen=True, kw_only=True)
class Takes:
    """What a folder says that its model takes.

    `fields` as columns of ours, `types` MLflow's name of each; `tensors`: name -> dtype where it wants arrays, the name
    empty for a single one without a name.
    """

    fields: list[Field]
    types: list[str]
    tensors: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class MLflowFolder:
    """A folder with an MLmodel file, as that file describes it.

    `flavors`: name -> block. `takes`: None without a signature. `task`: what the signature's outputs tell, and
    `output`, the name and type of the answer. `example`: the input example, columns or arrays.
    """

    path: Path
    flavors: dict[str, dict[str, Any]]
    takes: Takes | None
    task: Task | None
    output: Field | None

    @property
    def toolkit(self) -> str:
        """The first flavor that is not MLflow's general one, for people."""
        return next((name for name in self.flavors if name != "python_function"), "python_function")

    def example(self) -> dict[str, list[Any]] | None:
        """The input example as columns; None where there is none that fits the signature."""
        path = self.path / "input_example.json"
        if self.takes is None or not path.is_file() or path.is_symlink():
            return None
        try:
            return _columns(json.loads(path.read_text()), self.takes)
        except (ValueError, TypeError, KeyError, IndexError):
            return None  # MLflow keeps examples in many forms; a sample is asked for instead


def read_folder(path: Path) -> MLflowFolder:
    """What an MLmodel file says, read as plain data.

    Raises:
        Corrupt: There is none, or it is not one. DataError: It takes something that no column holds.
    """
    file = path / MLMODEL
    if not file.is_file() or file.is_symlink() or file.stat().st_size > MAX_BYTES:
        raise Corrupt(
            "there is no MLmodel file of a sensible size", where=str(path), remedy="name a folder of MLflow's"
        )
    told = _plain(file)
    flavors = told.get("flavors") if isinstance(told, dict) else None
    if not isinstance(flavors, dict) or not flavors or not all(isinstance(block, dict) for block in flavors.values()):
        raise Corrupt("the MLmodel file names no flavors", where=str(file), remedy="do not use this model")
    signature = cast("dict[str, Any]", told).get("signature")
    inputs = outputs = None
    if isinstance(signature, dict):
        inputs, outputs = (_listed(cast(Any, signature).get(part), file) for part in ("inputs", "outputs"))
    output = _output(outputs) if outputs else None
    return MLflowFolder(
        path=path,
        flavors=cast("dict[str, dict[str, Any]]", flavors),
        takes=_takes(inputs, file, is_spread="python_function" in flavors and bool(_SPREAD & set(flavors)))
        if inputs
        else None,
        task=None if output is None else "regression" if output.type == "float64" else "classification",
        output=output,
    )


# Toolkits that take a matrix as columns; the others take it as one tensor.
_SPREAD = {"sklearn", "xgboost", "lightgbm"}


def within(folder: Path, name: object) -> Path:
    """The file of this name in a folder.

    Raises:
        Corrupt: The name leads elsewhere, or there is no such file.
    """
    pure = PurePosixPath(name if isinstance(name, str) else "")
    path = folder.joinpath(*pure.parts)
    if (
        not pure.parts
        or pure.is_absolute()
        or ".." in pure.parts
        or not path.resolve().is_relative_to(folder.resolve())
    ):
        raise Corrupt(
            f"the MLmodel file names {name!r}, which is not in its folder",
            where=str(folder),
            remedy="do not use this model",
        )
    if not path.exists():
        raise Corrupt(
            f"the MLmodel file names {name!r}, which is not there", where=str(folder), remedy="fetch the folder again"
        )
    return path


def _plain(file: Path) -> Any:
    try:
        return yaml.load(file.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)  # plain data only
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise Corrupt(
            f"the MLmodel file is not plain YAML: {str(error).splitlines()[0]}",
            where=str(file),
            remedy="do not use this model",
        ) from error


def _listed(text: Any, file: Path) -> list[dict[str, Any]] | None:
    if text is None:
        return None
    try:
        found = json.loads(text)
    except (ValueError, TypeError) as error:
        raise Corrupt("the signature is not JSON", where=str(file), remedy="do not use this model") from error
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in cast("list[Any]", found)):
        raise Corrupt("the signature is no list of columns", where=str(file), remedy="do not use this model")
    return cast("list[dict[str, Any]]", found)


def _takes(inputs: Sequence[Mapping[str, Any]], file: Path, *, is_spread: bool) -> Takes:
    fields: list[Field] = []
    types: list[str] = []
    tensors: dict[str, str] = {}
    for index, item in enumerate(inputs):
        kind = item.get("type")
        name = str(item.get("name") or "")
        if kind == "tensor":
            spec = cast("Mapping[str, Any]", item.get("tensor-spec") or {})
            shape = [int(length) for length in cast("list[Any]", spec.get("shape") or [])][1:]
            dtype = str(spec.get("dtype"))
            if is_spread and len(shape) == 1 and 0 < shape[0] <= MAX_SPREAD and not name:
                fields += [Field(name=f"x{i}", type="float64") for i in range(shape[0])]
                types += ["double"] * shape[0]
                continue
            if any(length < 1 for length in shape) or dtype not in _NUMBERS:
                raise DataError(
                    f"the model takes a tensor of {dtype} with shape {shape}, which no column holds",
                    where=str(file),
                    remedy="save it with a signature of fixed shape and numbers",
                )
            fields.append(Field(name=name or "input", type="float64", shape=shape or None))
            types.append("")
            tensors[name] = dtype
        elif kind in _TYPES:
            is_required = bool(item.get("required", True))
            fields.append(Field(name=name or f"x{index}", type=_TYPES[str(kind)], nullable=not is_required))
            types.append(str(kind))
        else:
            raise DataError(
                f"the model takes a column {name!r} of type {kind!r}, which is not read here",
                where=str(file),
                remedy="save it with columns of numbers, text, times or tensors",
            )
    return Takes(fields=fields, types=types, tensors=tensors)


_NUMBERS = frozenset(
    {"bool", "float16", "float32", "float64", *(f"{u}int{n}" for u in ("", "u") for n in (8, 16, 32, 64))}
)


def _output(outputs: Sequence[Mapping[str, Any]]) -> Field:
    """The answer: numbers with a fraction are a regression, everything else are labels."""
    first = outputs[0]
    name = str(first.get("name") or "prediction")
    if first.get("type") == "tensor":
        dtype = str(cast("Mapping[str, Any]", first.get("tensor-spec") or {}).get("dtype"))
        is_number = dtype.startswith("float")
        return Field(
            name=name,
            type="float64" if is_number else "int64" if "int" in dtype else "bool" if dtype == "bool" else "string",
        )
    return Field(name=name, type=_TYPES.get(str(first.get("type")), "string"))


def _columns(example: Any, takes: Takes) -> dict[str, list[Any]]:
    names = [field.name for field in takes.fields]
    if isinstance(example, dict) and "data" in example:
        held = cast("dict[str, Any]", example)
        columns = [str(name) for name in held.get("columns") or names]
        rows = cast("list[list[Any]]", held["data"])
        found = {name: [row[i] for row in rows] for i, name in enumerate(columns)}
        return {name: found[name] for name in names}
    if isinstance(example, dict) and "inputs" in example:
        example = cast("dict[str, Any]", example)["inputs"]
    if isinstance(example, dict):
        held = cast("dict[str, list[Any]]", example)
        return {name: list(held[name]) for name in names}
    rows = cast("list[Any]", example)
    if len(names) == 1 and takes.fields[0].shape is not None:
        return {names[0]: rows}
    return {name: [row[i] for row in rows] for i, name in enumerate(names)}
