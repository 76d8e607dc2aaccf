"""Guards of one endpoint at work: what a request and its answers are, and what each row therefore needs.

Made once for each loaded version. `before` looks at the rows, `after` at the answers of those rows that the model was
asked for; both give None where nothing is to be done, which is nearly always, and take microseconds for it. The caller
brings each row to whom it needs: the model, the chain of fallbacks, or a person.

    guarded = guarding.before(asked, numbers)                       # raises Invalid where an action is "reject"
    rows = asked if guarded is None else guarded.for_model()        # the rows to ask, perhaps filled, perhaps fewer
    values, probabilities = ...                                     # the model's answers to them
    checked = guarding.after(rows, values, probabilities)

Nothing declared means nothing computed. Only numpy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from perennial.errors import Invalid
from perennial.models.guards.fitted import Fitted, number_columns
from perennial.models.guards.intervals import Intervals
from perennial.models.guards.spec import (
    Constant,
    FailSafe,
    Missing,
    Nan,
    OutOfRange,
    Output,
    Uncertain,
    Unforeseen,
    Unseen,
)
from perennial.models.package import NOT_FINITE
from perennial.models.signature import Signature
from perennial.serve.answer import Flag
from perennial.serve.asked import Asked
from perennial.serve.checks import (
    Check,
    Hit,
    MissingCheck,
    RangeCheck,
    Rows,
    UnforeseenCheck,
    UnseenCheck,
    first_of,
    numbers_of,
)
from perennial.serve.outputs import OutputCheck, UncertainCheck, not_finite, threshold_of

__all__ = ["Checked", "Guarded", "Guarding", "Need", "accepting"]

Floats = NDArray[np.float64]
Need = Literal["model", "fall_back", "abstain"]
_ORDER = {"range": 0, "missing": 1, "unseen": 2, "unforeseen": 3}  # what is cheap and plain first


class Guarded:
    """A request on which guards fired.

    Attributes:
        asked: All rows, in their order, filled where that was the action.
        needs: Who is to answer each row.
        flags: What fired on each row.
    """

    __slots__ = ("asked", "flags", "needs")

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.needs: list[Need] = ["model"] * asked.height
        self.flags: list[list[Flag]] = [[] for _ in range(asked.height)]

    @property
    def rows(self) -> list[int] | None:
        """Positions of the rows that the model answers; None: of all."""
        if all(need == "model" for need in self.needs):
            return None
        return [row for row, need in enumerate(self.needs) if need == "model"]

    def for_model(self) -> Asked:
        """The rows that the model answers; none of them where it has nothing to answer."""
        rows = self.rows
        return self.asked if rows is None else self.asked.take(rows)


class Checked:
    """Answers that were looked at; every list has an entry for each row that the model was asked for.

    Attributes:
        values: The answers; None where there is none, which `needs` or `errors` explain.
        needs: Who is to answer each row now: "model" where its answer stands.
        flags: What fired on each row.
        errors: Why a row has no answer; None where no row has an error.
        intervals: [low, high], infinite where nothing less holds; None where none are declared.
        sets: Labels; None where none are declared.
    """

    __slots__ = ("errors", "flags", "intervals", "needs", "sets", "values")

    def __init__(self, values: list[Any]) -> None:
        self.values = values
        self.needs: list[Need] = ["model"] * len(values)
        self.flags: list[list[Flag]] = [[] for _ in values]
        self.errors: list[str | None] | None = None
        self.intervals: list[list[float] | None] | None = None
        self.sets: list[list[Any] | None] | None = None


class Guarding:
    """The guards of one version. Not safe for use in several threads while `adapt` is called.

    Attributes:
        failsafe: What was declared.
        numbers: The columns of the matrix that `before` and `after` take, in its order; tensors are spread out.
        problems: Guards that are declared and cannot work, because the package has not learned what they need.
    """

    def __init__(self, signature: Signature, fitted: Fitted | None, failsafe: FailSafe) -> None:
        self.failsafe = failsafe
        self.numbers = number_columns(signature)
        self.problems: list[str] = []
        self._signature = signature
        self._fitted = fitted
        self._names = [field.name for field in signature.inputs]
        self._at = first_of(self._names)
        self._starts = {column.name: column for column in self.numbers}
        self._matrix = numbers_of(self.numbers, self._names)
        self._classes = list(signature.classes or [])
        self._checks = self._of_requests()
        self._nan = next((guard.answer for guard in failsafe.guards if isinstance(guard, Nan)), None)
        self._uncertain = self._of_doubt()
        self._outputs = [OutputCheck(guard, self._names) for guard in failsafe.guards if isinstance(guard, Output)]
        self._intervals = self._lookup()
        self._needs_numbers = any(isinstance(check, RangeCheck | UnforeseenCheck) for check in self._checks)
        self._width_follows = self._intervals is not None and self._intervals.facts.score == "quantile"
        by = self._intervals.facts.by if self._intervals is not None else None
        self._by = None if by in (None, "class") else self._at[by]
        self.looks_at_answers = bool(
            self._nan is not None or self._uncertain or self._outputs or self._intervals is not None
        )

    @property
    def alpha(self) -> float:
        """The share that intervals or sets may miss at present."""
        return self._intervals.alpha if self._intervals is not None else self.failsafe.miss

    def adapt(self, alpha: float | None) -> None:
        """From now on intervals and sets may miss this share; None: what was declared."""
        if self._intervals is not None:
            level = self.failsafe.interval.level if self.failsafe.interval is not None else 0.9
            self._intervals.at(1.0 - level if alpha is None else alpha)

    def matrix(self, asked: Asked) -> Floats:
        """The numbers of a request, shape (n, width), NaN where one is missing."""
        return self._matrix(asked)

    def before(self, asked: Asked, numbers: Floats | None = None) -> Guarded | None:
        """What the rows of a request need; None: the model answers all of them as they are.

        Args:
            asked: The rows.
            numbers: Their numbers, shape (n, width) in the order of `self.numbers`, float64 with NaN for missing, where
                the caller has them; never changed.

        Raises:
            Invalid: A guard fired whose action is "reject"; `where` points at the value.
        """
        if not self._checks:
            return None
        if numbers is None and self._needs_numbers:
            numbers = self._matrix(asked)
        rows = Rows(asked, numbers)
        guarded: Guarded | None = None
        for check in self._checks:
            hits = check.look(rows)
            if hits is not None:
                guarded = guarded or Guarded(asked)
                self._act(check, hits, rows, guarded)
        if guarded is not None:
            guarded.asked = rows.asked
        return guarded

    def after(
        self,
        rows: Asked,
        values: Sequence[Any] | NDArray[Any],
        probabilities: Floats | Sequence[Sequence[float] | None] | None = None,
        numbers: Floats | None = None,
        errors: Sequence[str | None] | None = None,
    ) -> Checked | None:
        """What answers are worth; None: nothing is declared about answers.

        Args:
            rows: The rows that were asked for.
            values: Numbers or labels, one for each.
            probabilities: Shape (n, k) in the order of the signature's classes.
            numbers: As for `before`, of these rows.
            errors: Why a row has no answer, as `orders.Told` has it; nothing is said of such a row, unless it is that
                the answer is no number.
        """
        if not self.looks_at_answers:
            return None
        listed: list[Any] = values.tolist() if isinstance(values, np.ndarray) else list(values)
        is_number = self._signature.task == "regression"
        answers = np.asarray(listed, dtype=np.float64) if is_number else None
        table = None if probabilities is None else _table(probabilities)
        checked = Checked(listed)
        lost = not_finite(answers, table)
        if lost and errors is not None:
            lost = [row for row in lost if (told := errors[row]) is None or told.startswith(NOT_FINITE)]
        if lost:
            self._without_number(lost, checked, answers)
        bounds = self._surround(rows, checked, answers, table, numbers)
        for check in self._uncertain:
            self._mark(check.kind, check.action, check.look(table, bounds), checked)
        for check in self._outputs:
            self._mark(check.kind, check.action, check.look(rows, checked.values), checked)
        self._take_back(checked)
        return checked

    def constant(self) -> tuple[Any, list[float] | None]:
        """The value of the constant fallback, and probabilities where it is a class: 1 for it, or shares in training.

        Raises:
            Invalid: None was declared with a value, and the package knows no mean.
        """
        link = next((found for found in self.failsafe.fallbacks if isinstance(found, Constant)), None)
        if link is not None and link.value is not None:
            one = [float(label == link.value) for label in self._classes]
            return link.value, one if self._classes else None
        if self._fitted is None:
            raise Invalid(
                "the constant that is fallen back on is not known: the package has learned none",
                remedy="train the version again, or declare fallback.constant(VALUE)",
            )
        prior = dict(zip(self._fitted.classes or (), self._fitted.prior or (), strict=True))
        return self._fitted.constant, [prior.get(label, 0.0) for label in self._classes] if prior else None

    def _of_requests(self) -> list[Check]:
        found: list[Check] = []
        fitted = self._fitted
        for guard in self.failsafe.guards:
            if isinstance(guard, Missing):
                if guard.action == "fill" and fitted is None:
                    self._cannot("missing")
                else:
                    found.append(MissingCheck(guard, self._signature, fitted))
            elif isinstance(guard, OutOfRange | Unseen | Unforeseen):
                if fitted is None or (isinstance(guard, Unforeseen) and fitted.unlike is None):
                    self._cannot(str(guard.__struct_config__.tag))
                elif isinstance(guard, OutOfRange):
                    found.append(RangeCheck(guard, fitted))
                elif isinstance(guard, Unseen):
                    found.append(UnseenCheck(guard, self._signature, fitted))
                else:
                    found.append(UnforeseenCheck(guard, fitted))
        return sorted(found, key=lambda check: _ORDER[check.kind])

    def _of_doubt(self) -> list[UncertainCheck]:
        found: list[UncertainCheck] = []
        for guard in self.failsafe.guards:
            if isinstance(guard, Uncertain):
                threshold = threshold_of(guard, self._fitted)
                if guard.risk is not None and threshold is None:
                    self._cannot("uncertain")
                else:
                    found.append(UncertainCheck(guard, threshold))
        return found

    def _lookup(self) -> Intervals | None:
        if self.failsafe.interval is None:
            return None
        if self._fitted is None or self._fitted.conformal is None:
            self._cannot("interval")
            return None
        return Intervals(self._fitted, self.failsafe.miss, self._classes)

    def _cannot(self, kind: str) -> None:
        self.problems.append(
            f"{kind} is declared, but this version's package has learned nothing for it: train it again"
        )

    def _act(self, check: Check, hits: list[Hit], rows: Rows, guarded: Guarded) -> None:
        if check.action == "reject":
            raise _rejected(check.kind, hits[0], rows.asked)
        if check.action == "fill":
            self._fill(hits, rows)
        for hit in hits:
            guarded.flags[hit.row].append(Flag(guard=check.kind, action=check.action, column=hit.column, says=hit.says))
            _route(guarded.needs, hit.row, check.action)

    def _fill(self, hits: list[Hit], rows: Rows) -> None:
        """Put the usual values in; the request itself and its matrix stay as they came."""
        if not rows.was_filled:
            rows.asked = Asked(rows.asked.names, [*rows.asked.rows()])
            rows.numbers = None if rows.numbers is None else rows.numbers.copy()
            rows.was_filled = True
        listed = rows.asked.rows()
        for hit in hits:
            assert hit.column is not None
            at, column = self._at[hit.column], self._starts.get(hit.column)
            value = hit.value
            if column is not None and rows.numbers is not None:
                where = slice(column.start, column.start + column.width)
                rows.numbers[hit.row, where] = np.ravel(np.asarray(value, dtype=np.float64))
            if isinstance(value, np.ndarray):
                value = value.reshape(self._signature.inputs[at].shape or [-1]).tolist()
            row = listed[hit.row]
            listed[hit.row] = (*row[:at], value, *row[at + 1 :])

    def _without_number(self, lost: list[int], checked: Checked, answers: Floats | None) -> None:
        answer = "error" if self._nan is None else self._nan
        for row in lost:
            told = "no finite number" if checked.values[row] is None else checked.values[row]
            says = f"{NOT_FINITE}{told}" if answers is not None else "its probabilities are NaN"
            if answer == "error":
                errors: list[str | None] = checked.errors or [None] * len(checked.values)
                errors[row] = says
                checked.errors = errors
                checked.values[row] = None
                continue
            action = answer if isinstance(answer, str) and answer != "null" else "fill"
            checked.flags[row].append(Flag(guard="nan", action=action, says=says))
            _route(checked.needs, row, action)
            checked.values[row] = answer if not isinstance(answer, str) else None
            if answers is not None and not isinstance(answer, str):
                answers[row] = answer

    def _surround(
        self,
        rows: Asked,
        checked: Checked,
        answers: Floats | None,
        probabilities: Floats | None,
        numbers: Floats | None,
    ) -> Floats | None:
        """Give intervals or sets; the bounds of a regression."""
        lookup = self._intervals
        if lookup is None:
            return None
        groups = None if self._by is None else [row[self._by] for row in rows.rows()]
        if answers is not None:
            if numbers is None and self._width_follows:
                numbers = self._matrix(rows)
            bounds = lookup.bounds(answers, numbers, groups)
            checked.intervals = [*bounds.tolist()]
            return bounds
        if probabilities is not None:
            members = lookup.members(probabilities, groups)
            classes = self._classes
            checked.sets = [[classes[at] for at in np.flatnonzero(row).tolist()] for row in members]
        return None

    def _mark(self, kind: str, action: str, hits: list[Hit] | None, checked: Checked) -> None:
        for hit in hits or ():
            if checked.values[hit.row] is None:
                continue
            checked.flags[hit.row].append(Flag(guard=kind, action=action, says=hit.says))
            _route(checked.needs, hit.row, action)
            if action == "fill":
                checked.values[hit.row] = hit.value

    def _take_back(self, checked: Checked) -> None:
        """An answer that is not to be given is not handed on, nor what surrounds it."""
        for row, need in enumerate(checked.needs):
            if need != "model":
                checked.values[row] = None
            if checked.values[row] is None:
                if checked.intervals is not None:
                    checked.intervals[row] = None
                if checked.sets is not None:
                    checked.sets[row] = None


def accepting(signature: Signature, failsafe: FailSafe) -> Signature:
    """The signature by which requests are checked: a missing value that a guard deals with is not refused before it."""
    named: set[str] = set()
    for guard in failsafe.guards:
        if isinstance(guard, Missing) and guard.action != "reject":
            named |= {field.name for field in signature.inputs} if guard.columns is None else set(guard.columns)
    inputs = [
        msgspec.structs.replace(field, nullable=True) if field.name in named else field for field in signature.inputs
    ]
    return msgspec.structs.replace(signature, inputs=inputs)


def _table(probabilities: Floats | Sequence[Sequence[float] | None]) -> Floats:
    """Shape (n, k); a row without probabilities is NaN."""
    if isinstance(probabilities, np.ndarray):
        return probabilities
    width = next((len(row) for row in probabilities if row is not None), 0)
    nothing = [float("nan")] * width
    return np.array([nothing if row is None else row for row in probabilities], dtype=np.float64)


def _route(needs: list[Need], row: int, action: str) -> None:
    """The graver of what a row needed before and what is needed now: a person, then a fallback, then the model."""
    if action == "abstain":
        needs[row] = "abstain"
    elif action == "fall_back" and needs[row] == "model":
        needs[row] = "fall_back"


def _rejected(kind: str, hit: Hit, asked: Asked) -> Invalid:
    where = f"records[{hit.row}]"
    if hit.column is not None:
        where = f"columns.{hit.column}[{hit.row}]" if asked.by_column else f"{where}.{hit.column}"
    what = f"column {hit.column!r}: {hit.says}" if hit.column is not None else f"the row is {kind}: {hit.says}"
    return Invalid(what, where=where, remedy="send a row like those that the model was trained on")
