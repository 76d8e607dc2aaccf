"""A PyTorch network as data: its exported graph as JSON and its weights, in one safetensors file.

PyTorch's own file of an exported program (`.pt2`) can run code when it is read: `torch.export.load` unpickles weights
that the archive marks as pickled, its constants, its opaque objects and its sample inputs, evaluates its symbolic
expressions, and looks up the graph's functions by name anywhere in the library. A file of ours holds nothing but
tensors and a list of steps; each step names an operator that is allowed (`torch_operators`), and everything else is
refused before the first is run. Reading it makes no code and starts none.
"""

from __future__ import annotations

import json
import math
import operator
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, cast

from perennial.errors import Corrupt
from perennial.models.flavors.arrays import toolkit
from perennial.models.flavors.torch_operators import OPERATORS
from perennial.types import JSON

__all__ = ["Graph", "NotExportable", "graph_of", "read_graph"]

FORMAT = "perennial.torch-graph/1"
MAX_STEPS = 1_000_000

_PLAIN: Mapping[str, Any] = {
    **{
        f"operator.{name}": getattr(operator, name)
        for name in ("add", "floordiv", "ge", "getitem", "gt", "le", "lt", "mod", "mul", "neg", "sub", "truediv")
    },
    **{f"operator.{name}": getattr(operator, name) for name in ("eq", "ne")},
    "math.ceil": math.ceil,
    "math.floor": math.floor,
}
_DTYPES = frozenset({"float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"})
_FORMATS = frozenset({"contiguous_format", "preserve_format", "channels_last", "channels_last_3d"})
_ATEN = re.compile(r"aten\.([A-Za-z0-9_]+)\.([A-Za-z0-9_]+)")
_FORGETTABLE = re.compile(r"aten\._assert_[a-z_]+\.[a-z]+|aten\.sym_constrain_range[a-z_]*\.default")


class NotExportable(Exception):
    """This network is not a graph of known operators for any number of rows; says why. Caught where it is saved."""


class Graph:
    """A list of steps over tensors: called with the inputs in order, it gives the output. Not an `nn.Module`."""

    def __init__(self, told: Mapping[str, JSON], tensors: Mapping[str, Any], where: str = "") -> None:
        self._where = where
        self._told = told
        self.tensors = dict(tensors)
        torch = toolkit("torch", "PyTorch", "torch")
        steps = cast(list[list[Any]], told["steps"])
        self._constants = [self._tensor(name) for name in cast(list[str], told["tensors"])]
        self._inputs = int(cast(int, told["inputs"]))
        self._run: list[tuple[Any, list[Any], dict[str, Any]]] = []
        if len(steps) > MAX_STEPS:
            raise self._corrupt(f"it has {len(steps)} steps")
        known = len(self._constants) + self._inputs
        for i, (target, args, kwargs) in enumerate(steps):
            read = _Arguments(torch, known + i, self._where)
            self._run.append((_function(torch, target, self._where), read.list_of(args), read.mapping(kwargs)))
        last = _Arguments(torch, known + len(steps), self._where)
        self._output = last.read(told["output"])

    def __call__(self, *inputs: Any) -> Any:
        if len(inputs) != self._inputs:
            raise ValueError(f"the graph takes {self._inputs} inputs, not {len(inputs)}")
        values: list[Any] = [*self._constants, *inputs]
        for function, args, kwargs in self._run:
            values.append(function(*_filled(args, values), **_filled(kwargs, values)))
        return _filled(self._output, values)

    @property
    def inputs(self) -> int:
        """How many tensors it takes."""
        return self._inputs

    def to(self, device: Any) -> Graph:
        """The same on another device."""
        tensors = {name: tensor.to(device) for name, tensor in self.tensors.items()}
        moved = Graph(self._told, tensors, self._where)
        for i, (function, args, kwargs) in enumerate(moved._run):
            if "device" in kwargs:
                moved._run[i] = (function, args, {**kwargs, "device": device})
        return moved

    def to_bytes(self) -> bytes:
        """The safetensors file; the same bytes for the same graph."""
        from safetensors.torch import save

        tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in sorted(self.tensors.items())}
        told = {**self._told, "format": FORMAT}
        # One key: safetensors writes several in any order, and the same graph would have other bytes.
        return save(tensors, metadata={"graph": json.dumps(told, sort_keys=True, separators=(",", ":"))})

    def _tensor(self, name: str) -> Any:
        found = self.tensors.get(name)
        if found is None:
            raise self._corrupt(f"it needs the tensor {name!r}, which is not in it")
        return found

    def _corrupt(self, what: str) -> Corrupt:
        return Corrupt(f"this graph cannot be used: {what}", where=self._where, remedy="do not use this package")


def graph_of(program: Any) -> Graph:
    """An exported program (`torch.export.ExportedProgram`) as a graph of known operators.

    Raises:
        NotExportable: It changes its own state, has control flow, or uses an operator that is not known here.
    """
    plain = _known(program)
    signature = plain.graph_signature
    outputs = [spec for spec in signature.output_specs if spec.kind.name != "TOKEN"]
    if [spec.kind.name for spec in outputs] != ["USER_OUTPUT"]:
        raise NotExportable("it changes its own state when it answers, or answers more than one tensor")
    kinds = {spec.arg.name: spec for spec in signature.input_specs}
    nodes = list(plain.graph.nodes)
    users = [n for n in nodes if n.op == "placeholder" and kinds[n.name].kind.name == "USER_INPUT"]
    held = [n for n in nodes if n.op == "placeholder" and n not in users and n.users]
    stored = {**plain.state_dict, **plain.constants}
    tensors: dict[str, Any] = {}
    for node in held:
        name = kinds[node.name].target
        if not hasattr(stored.get(name), "untyped_storage"):
            raise NotExportable(f"it holds {name}, which is no tensor")
        tensors[name] = stored[name]
    number = {node: i for i, node in enumerate([*held, *users])}
    steps: list[JSON] = []
    for node in nodes:
        if node.op != "call_function" or _FORGETTABLE.fullmatch(str(node.target)):
            continue
        args = [_written(arg, number) for arg in node.args]
        kwargs = {name: _written(arg, number) for name, arg in node.kwargs.items() if name != "pin_memory"}
        steps.append([_name(node.target), args, kwargs])
        number[node] = len(number)
    found = nodes[-1].args[0]
    told: dict[str, JSON] = {
        "tensors": [kinds[node.name].target for node in held],
        "inputs": len(users),
        "steps": steps,
        "output": _written(found[0] if len(found) == 1 else found, number),
    }
    return Graph(told, tensors)


def read_graph(data: bytes, where: str) -> Graph:
    """The graph in a file.

    Raises:
        Corrupt: It is no such file, or names an operator that is not allowed here.
    """
    toolkit("torch", "PyTorch", "torch")
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        tensors = load(data)
        length = int.from_bytes(data[:8], "little")
        told = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["graph"])
        if told.pop("format") != FORMAT:
            raise ValueError("it is of another version")
        return Graph(told, tensors, where)
    except Corrupt:
        raise
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Corrupt(
            f"this is no graph of a network: {type(error).__name__}: {error}",
            where=where,
            remedy="do not use this package",
        ) from error


def _known(program: Any) -> Any:
    """The program in known operators alone: without those that change a tensor in place, else taken apart, else as it
    is."""
    reason = ""
    for way in (lambda: program.run_decompositions({}), program.run_decompositions, lambda: program):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # PyTorch's own, about its own calls
                found = way()
        except Exception as error:  # noqa: BLE001  # PyTorch cannot take apart each program that it reads from a file
            reason = reason or f"{type(error).__name__}: {error}"
            continue
        unknown = _unknown(found)
        if unknown is None:
            return found
        reason = reason or f"it uses {unknown}"
    raise NotExportable(reason)


def _unknown(program: Any) -> str | None:
    for node in program.graph.nodes:
        if node.op == "call_function":
            name = _name(node.target)
            found = _ATEN.fullmatch(name)
            if not ((found and found[1] in OPERATORS) or name in _PLAIN or _FORGETTABLE.fullmatch(name)):
                return name
        elif node.op not in ("placeholder", "output"):
            return f"{node.op} {node.target}"
    return None


def _name(target: Any) -> str:
    if hasattr(target, "overloadpacket"):
        return str(target)
    return f"{str(target.__module__).removeprefix('_')}.{target.__name__}"


def _function(torch: Any, target: object, where: str) -> Any:
    if isinstance(target, str):
        if target in _PLAIN:
            return _PLAIN[target]
        found = _ATEN.fullmatch(target)
        if found and found[1] in OPERATORS:
            packet = getattr(torch.ops.aten, found[1], None)
            if packet is not None and found[2] in packet.overloads():
                return getattr(packet, found[2])
    raise Corrupt(
        f"a network names the operator {target!r}, which is not allowed here", where=where, remedy="do not use it"
    )


def _written(arg: Any, number: Mapping[Any, int]) -> JSON:
    """An argument as JSON: what is no plain value is an object with one key."""
    if arg is None or isinstance(arg, bool | int | str):
        return arg
    if isinstance(arg, float):
        return arg if math.isfinite(arg) else {"float": str(arg)}
    if isinstance(arg, list | tuple):
        return [_written(item, number) for item in cast(Sequence[Any], arg)]
    if arg in number:
        return {"node": number[arg]}
    kind, _, name = str(arg).rpartition(".")
    if type(arg).__name__ == "device":
        return {"device": True}
    if kind == "torch" and type(arg).__name__ in ("dtype", "memory_format", "layout"):
        return {type(arg).__name__: name}
    raise NotExportable(f"it has the argument {arg!r}")


class _Arguments:
    """Reads arguments back; a reference to a later step is refused."""

    def __init__(self, torch: Any, known: int, where: str) -> None:
        self._torch, self._known, self._where = torch, known, where

    def list_of(self, args: object) -> list[Any]:
        if not isinstance(args, list):
            raise self._corrupt(args)
        return [self.read(item) for item in cast(list[JSON], args)]

    def mapping(self, kwargs: object) -> dict[str, Any]:
        if not isinstance(kwargs, dict):
            raise self._corrupt(kwargs)
        return {name: self.read(item) for name, item in cast(dict[str, JSON], kwargs).items()}

    def read(self, arg: JSON) -> Any:
        if isinstance(arg, list):
            return self.list_of(arg)
        if not isinstance(arg, dict):
            return arg
        if len(arg) != 1:
            raise self._corrupt(arg)
        ((kind, value),) = arg.items()
        if kind == "node" and type(value) is int and 0 <= value < self._known:
            return _Reference(value)
        if kind == "float" and value in ("inf", "-inf", "nan"):
            return float(cast(str, value))
        if kind == "device":
            return self._torch.device("cpu")
        if (
            (kind == "dtype" and value in _DTYPES)
            or (kind == "memory_format" and value in _FORMATS)
            or (kind == "layout" and value == "strided")
        ):
            return getattr(self._torch, cast(str, value))
        raise self._corrupt(arg)

    def _corrupt(self, arg: object) -> Corrupt:
        return Corrupt(f"a network has the argument {arg!r}", where=self._where, remedy="do not use this package")


class _Reference(int):
    """The number of a value that was computed before."""


def _filled(args: Any, values: list[Any]) -> Any:
    if type(args) is _Reference:
        return values[args]
    if type(args) is list:
        return [_filled(item, values) for item in cast(list[Any], args)]
    if type(args) is dict:
        return {name: _filled(item, values) for name, item in cast(dict[str, Any], args).items()}
    return args
