"""Models that a front answers itself: proven graphs of numbers, which are data and not code.

Requests that arrive in one turn of the event loop are answered by one call of the model: under load that is a batch,
and one alone waits for nobody.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from perennial.errors import Corrupt, PerennialError
from perennial.models.compiling.plan import Plan
from perennial.models.compiling.scorer import CompiledScorer, load_compiled
from perennial.models.guards.fitted import read_fitted
from perennial.models.package import COMPILED, MANIFEST, NOT_FINITE, same, verify
from perennial.models.signature import Signature
from perennial.serve.asked import Asked
from perennial.serve.intake import Intake
from perennial.serve.line import Deadline
from perennial.serve.orders import Told
from perennial.serve.parts import Part
from perennial.store.decoding import ready

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["InlineModel", "Matrices"]

EXAMPLES = 3  # rows that are shown to people
BATCH_ROWS = 4096  # rows of several requests put together; more are answered in several calls


class Matrices:
    """Brings requests into the one matrix that a graph takes; the columns of the model are those of the request."""

    def __init__(self, signature: Signature, plan: Plan) -> None:
        names = [field.name for field in signature.inputs]
        self._positions = [names.index(column.name) for column in plan.columns]
        self._dtype: Any = np.float32 if plan.input == "float32" else np.float64
        self._tensor = len(plan.columns) == 1 and plan.columns[0].shape is not None
        self._codes: list[dict[Any, float] | None] = [
            None if column.categories is None else {text: float(i) for i, text in enumerate(column.categories)}
            for column in plan.columns
        ]
        self._is_direct = self._positions == list(range(len(names))) and not any(self._codes)

    def of(self, asked: Asked) -> NDArray[Any]:
        """Shape (rows, columns): NaN is missing, a category its code, an unknown category NaN."""
        if self._tensor:
            return np.ascontiguousarray(asked.columns()[self._positions[0]], dtype=self._dtype)
        if asked.by_column:
            return self._of_columns(asked)
        rows = asked.rows()
        if self._is_direct:
            return np.array(rows, dtype=self._dtype)
        nan = float("nan")
        pairs = list(zip(self._positions, self._codes, strict=True))
        return np.array(
            [[row[i] if codes is None else codes.get(row[i], nan) for i, codes in pairs] for row in rows],
            dtype=self._dtype,
        )

    def _of_columns(self, asked: Asked) -> NDArray[Any]:
        columns = asked.columns()
        matrix = np.empty((asked.height, len(self._positions)), dtype=self._dtype)
        nan = float("nan")
        for j, (i, codes) in enumerate(zip(self._positions, self._codes, strict=True)):
            values = columns[i]
            matrix[:, j] = values if codes is None else [codes.get(value, nan) for value in values]
        return matrix


class InlineModel:
    """A compiled model in this process, and the requests that wait for its next call.

    Attributes:
        package: Its digest.
        waiting: Rows that wait.
        examples: Some of its golden rows.
        fitted: What guards learned of its training rows; None in older packages.
    """

    def __init__(self, package: str, folder: Path) -> None:
        """Load it, from a package that is trusted, and give its golden answers.

        Raises:
            Corrupt: The package is not whole, or its answers are not those that were recorded.
        """
        files = verify(folder)
        if COMPILED not in files:
            raise Corrupt("there is no compiled model in it", where=str(folder / MANIFEST))
        signature = msgspec.json.decode(files["signature.json"], type=ready(Signature))
        self.package = package
        self.signature = signature
        self.scorer: CompiledScorer = load_compiled(folder, signature, trusted=True)
        self.matrices = Matrices(signature, self.scorer.plan)
        self.classes: list[Any] | None = signature.classes or self.scorer.classes
        self.fitted = read_fitted(files)
        self.waiting = 0
        self._parts: list[Part] = []
        self._is_regression = signature.task == "regression"
        golden = json.loads(files["golden.json"])
        self.examples: list[dict[str, Any]] = golden["records"][:EXAMPLES]
        self._check(golden)

    def _check(self, golden: dict[str, Any]) -> None:
        records, expected = golden["records"], golden["answers"]
        if not records:
            return
        told = self.answer(self.matrices.of(Intake(self.signature, max_rows=len(records)).of_records(records)))
        names = [str(label) for label in self.classes or []]
        for at, wanted in enumerate(expected):
            found: dict[str, Any] = {"prediction": told.values[at]}
            if told.probabilities is not None:
                found["probabilities"] = dict(zip(names, told.probabilities[at], strict=True))
            if told.errors is not None and told.errors[at] is not None:
                found["error"] = told.errors[at]
            if not same(found, wanted, self.scorer.relative):
                raise Corrupt(f"golden row {at}: answered {json.dumps(found)}, recorded {json.dumps(wanted)}")

    def ask(self, part: Part) -> None:
        """Answer this in the next call."""
        self._parts.append(part)
        self.waiting += part.asked.height

    def flush(self, now: float) -> int:
        """Answer what waits, but for what is too late now (`perf_counter`); how many rows that were."""
        parts, self._parts, self.waiting = self._parts, [], 0
        rows = size = 0
        batch: list[Part] = []
        for part in parts:
            if part.deadline < now:
                part.settle(Deadline("the request waited too long to be answered", remedy="try again in a moment"))
                continue
            if batch and size + part.asked.height > BATCH_ROWS:
                self._answer(batch)
                batch, size = [], 0
            batch.append(part)
            size += part.asked.height
            rows += part.asked.height
        if batch:
            self._answer(batch)
        return rows

    def _answer(self, parts: list[Part]) -> None:
        if len(parts) == 1:
            part = parts[0]
            part.settle(self.told(part.matrix if part.matrix is not None else self.matrices.of(part.asked)))
            return
        matrices = [part.matrix if part.matrix is not None else self.matrices.of(part.asked) for part in parts]
        told = self.told(np.concatenate(matrices))
        start = 0
        for part in parts:
            end = start + part.asked.height
            part.settle(
                Told(
                    told.values[start:end],
                    None if told.probabilities is None else told.probabilities[start:end],
                    None if told.errors is None else told.errors[start:end],
                )
            )
            start = end

    def told(self, matrix: NDArray[Any]) -> Told:
        """As `answer`; rows that fail are told of one by one, and do not touch their neighbours."""
        try:
            return self.answer(matrix)
        except Exception as error:  # noqa: BLE001 - the boundary of a request: its rows carry what happened
            if len(matrix) == 1:
                says = error.what if isinstance(error, PerennialError) else str(error)
                return Told([None], None, [f"{type(error).__name__}: {says}"[:500]])
            each = [self.told(matrix[i : i + 1]) for i in range(len(matrix))]
            known = [told.probabilities[0] if told.probabilities else None for told in each]
            return Told(
                [told.values[0] for told in each],
                known if any(row is not None for row in known) else None,
                [told.errors[0] if told.errors else None for told in each],
            )

    def answer(self, matrix: NDArray[Any]) -> Told:
        """Values and probabilities of the rows of a matrix, as JSON values."""
        found = self.scorer.answer_matrix(matrix)
        table = found.probabilities
        probabilities: list[Any] | None = table.tolist() if table is not None else None
        if found.values is not None:
            values: list[Any] = found.values.tolist()
        else:
            assert table is not None
            classes = self.classes or []
            values = [classes[i] for i in table.argmax(axis=1).tolist()]
        errors: list[str | None] | None = None
        if self._is_regression:
            total = sum(values)
            if total - total != 0.0:  # some value is not finite
                for at, value in enumerate(values):
                    if value - value != 0.0:
                        errors = errors if errors is not None else _nothing(len(values))
                        errors[at], values[at] = f"{NOT_FINITE}{value}", None
        return Told(values, probabilities, errors)


def _nothing(rows: int) -> list[str | None]:
    return [None] * rows
