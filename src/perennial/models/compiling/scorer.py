"""A compiled model as it serves: one graph in ONNX Runtime, one thread, and the columns that lead into it.

Importing this needs numpy and ONNX Runtime only when a graph is loaded; no toolkit, no pandas, no converter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from perennial.errors import Corrupt
from perennial.models.compiling.plan import Columns, Plan
from perennial.models.compiling.safety import check_onnx
from perennial.models.flavors.flavor import Answered, Label
from perennial.models.priors import Priors, read_priors
from perennial.models.signature import Signature
from perennial.store.decoding import ready
from perennial.types import JSON

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

__all__ = ["GRAPH", "PLAN", "CompiledScorer", "load_compiled", "scorer_of"]

GRAPH = "compiled/model.onnx"
PLAN = "compiled/plan.json"


@dataclass
class CompiledScorer:
    """A proven graph. Not safe for concurrent use."""

    session: Any
    plan: Plan
    columns: Columns
    model: Any = None
    classes: list[Label] | None = None
    options: Mapping[str, JSON] = field(default_factory=dict[str, JSON])
    relative: float = 1e-9
    priors: Priors | None = None
    _run: Any = field(init=False, repr=False)
    _names: list[str] = field(init=False, repr=False)
    _input: str = field(init=False, repr=False)
    _kind: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # Looked up once: for one row each look costs as much as a tree.
        self._run, self._names, self._kind = self.session.run, list(self.plan.outputs), self.plan.answers
        self._input = self.session.get_inputs()[0].name

    def answer(self, x: pl.DataFrame) -> Answered:
        return self.answer_matrix(self.columns.of_frame(x))

    def answer_arrays(self, columns: Sequence[NDArray[Any]]) -> Answered:
        """One array for each of the model's columns: numbers, true and false, codes of categories (-1: missing)."""
        return self.answer_matrix(self.columns.of_arrays(columns))

    def answer_matrix(self, matrix: NDArray[Any]) -> Answered:
        """The model's columns as one array of the plan's type: NaN is missing, a category its code.

        Raises:
            Invalid: A value that the native model refuses.
        """
        answered = self._answered(matrix)
        return answered if self.priors is None else self.priors.answered(answered)

    def _answered(self, matrix: NDArray[Any]) -> Answered:
        self.columns.check(matrix)
        found: list[NDArray[Any]] = self._run(self._names, {self._input: matrix})
        if self._kind == "probabilities":
            return Answered(None, found[0])
        if self._kind == "numbers":
            return Answered(found[0].reshape(len(matrix)))
        if self._kind == "labels":
            return Answered(self._labels(found[0]))
        return Answered(self._labels(found[1]), found[0])

    def close(self) -> None:
        """Nothing is held but memory."""

    def _labels(self, found: NDArray[Any]) -> NDArray[Any]:
        # A graph has no booleans as labels: there they are 0 and 1.
        return found.astype(bool) if self.classes and isinstance(self.classes[0], bool) else found


def load_compiled(folder: Path, signature: Signature, *, trusted: bool = False) -> CompiledScorer:
    """The compiled form in a checked-out package; imports no toolkit.

    `trusted`: these bytes are the ones that this workspace made and looked through then; large graphs load sooner.

    Raises:
        Corrupt: It is no such form, or its graph refers to other files or foreign operators.
    """
    try:
        plan = msgspec.json.decode((folder / PLAN).read_bytes(), type=ready(Plan))
    except msgspec.MsgspecError as error:
        raise Corrupt(f"this plan of a compiled model is not readable: {error}", where=str(folder / PLAN)) from error
    if [column.name for column in plan.columns] != [field.name for field in signature.columns]:
        raise Corrupt("the compiled model takes other columns than the package", where=str(folder / PLAN))
    made = scorer_of((folder / GRAPH).read_bytes(), plan, where=str(folder / GRAPH), checked=trusted)
    made.priors = read_priors(folder)
    return made


def scorer_of(graph: bytes, plan: Plan, *, where: str = "", checked: bool = False) -> CompiledScorer:
    """A graph that answers; `checked` where it was looked through before.

    Raises:
        Corrupt: ONNX Runtime does not take it, or it refers to other files or foreign operators.
    """
    if not checked:
        check_onnx(graph, where=where)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # a worker is one of many processes; threads that spin take the others' cores
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    onnxruntime.disable_telemetry_events()
    try:
        session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own exceptions have no common class but this one
        raise Corrupt(f"ONNX Runtime does not load this graph: {str(error).splitlines()[0]}", where=where) from error
    return CompiledScorer(session, plan, Columns(plan), classes=plan.classes, relative=plan.relative)
