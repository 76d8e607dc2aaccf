"""A request on its way: the rows, who answered each of them, and the frame that is written in the end.

Most requests are answered whole by one version (`part`); only where guards, canaries or fallbacks divide the rows are
the answers kept row by row (`scatter`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from perennial.errors import PerennialError
from perennial.models.package import NOT_FINITE
from perennial.serve.answer import Answer, Flag
from perennial.serve.asked import Asked
from perennial.serve.frames import Answered
from perennial.serve.line import Deadline
from perennial.serve.parts import Part
from perennial.serve.route import Route

if TYPE_CHECKING:
    from perennial.serve.guarding import Checked

__all__ = ["Done", "Job", "Wanted"]

Done = Callable[["Answer | PerennialError"], None]


class Wanted:
    """What a client wants besides the rows.

    Attributes:
        source: The protocol.
        key: The client's own, under which a repetition is the same request; "" without.
        digest: Of the request, where there is a key.
        timeout_s: How long it may take.
        started: `perf_counter` at the request's last byte.
        tells_rows: Whether the protocol can say of single rows that there is no answer.
        decoded, answered, written: When that was, as `started`; 0.0 where it did not come to it.
        arm: Of the version that the client insists on; "" leaves it to the endpoint.
    """

    __slots__ = (
        "answered", "arm", "decoded", "digest", "key", "source", "started", "tells_rows", "timeout_s", "written",
    )  # fmt: skip

    def __init__(
        self, source: str, timeout_s: float, *, key: str = "", digest: str = "", started: float = 0.0, arm: str = "",
        tells_rows: bool = False,
    ) -> None:  # fmt: skip
        self.source = source
        self.timeout_s = timeout_s
        self.key = key
        self.digest = digest
        self.started = started or time.perf_counter()
        self.arm = arm
        self.tells_rows = tells_rows
        self.decoded = self.answered = self.written = 0.0


class Job:
    """One request. `left`: parts that are still to be answered; `given`: its rows as models get them, maybe filled.

    `status` and `message`: of rows that got no answer, and so of the request unless it can say so row by row;
    `is_exhausted`: no fallback was left for some row.
    """

    __slots__ = (
        "arms", "asked", "at", "deadline", "done", "errors", "flags", "given", "id", "intervals", "is_exhausted",
        "is_scattered", "left", "message", "part", "probabilities", "route", "sets", "status", "values", "versions",
        "wanted",
    )  # fmt: skip

    def __init__(self, route: Route, asked: Asked, wanted: Wanted, done: Done, first: str, at: int) -> None:
        self.route = route
        self.asked = self.given = asked
        self.wanted = wanted
        self.done = done
        self.id = first
        self.at = at
        self.deadline = wanted.started + min(wanted.timeout_s, route.deadline_s)
        self.left = 1
        self.part: Part | None = None
        self.flags: list[list[Flag]] | None = None
        self.is_scattered = self.is_exhausted = False
        self.status = 200
        self.message = ""

    def scatter(self) -> None:
        """Keep the answers row by row from now on."""
        if self.is_scattered:
            return
        rows = self.asked.height
        self.is_scattered = True
        self.values: list[Any] = [None] * rows
        self.probabilities: list[Any] = [None] * rows
        self.errors: list[str | None] = [None] * rows
        self.versions = [0] * rows
        self.arms = [""] * rows
        self.intervals: list[Any] = [None] * rows
        self.sets: list[Any] = [None] * rows

    def take(self, part: Part, checked: Checked | None) -> list[int]:
        """Take a version's answers in; the rows that somebody else is to answer."""
        told = part.told
        assert told is not None
        version = self.route.versions[part.arm]
        again: list[int] = []
        for at in range(part.asked.height):
            row = part.rows[at] if part.rows is not None else at
            self.versions[row], self.arms[row] = version, part.arm
            error = told.errors[at] if told.errors is not None else None
            need = "model"
            if checked is not None:
                self.values[row] = checked.values[at]
                need = checked.needs[at]
                if error is None or error.startswith(NOT_FINITE):  # what that means is the guards' affair
                    error = checked.errors[at] if checked.errors is not None else None
                if checked.flags[at]:
                    self.flag(row, checked.flags[at])
                if checked.intervals is not None:
                    self.intervals[row] = _finite(checked.intervals[at])
                if checked.sets is not None:
                    self.sets[row] = checked.sets[at]
            else:
                self.values[row] = told.values[at]
            if told.probabilities is not None and self.values[row] is not None:
                self.probabilities[row] = told.probabilities[at]
            self.errors[row] = error
            if need == "abstain":
                self.leave_to_person([row])
            elif need == "fall_back" or (error is not None and self.route.chain and part.step < len(self.route.chain)):
                again.append(row)
                if need != "fall_back":
                    self.hand_on([row], part.arm)
            elif error is not None and self.route.chain:
                self.is_exhausted = True
        return again

    def give(self, rows: Sequence[int], value: Any, probabilities: list[float] | None) -> None:
        """The same value for all of these."""
        for row in rows:
            self.values[row], self.probabilities[row], self.errors[row] = value, probabilities, None
            self.versions[row], self.arms[row] = 0, "constant"
            self.intervals[row] = self.sets[row] = None

    def leave_to_person(self, rows: Sequence[int]) -> None:
        """A person will answer these."""
        for row in rows:
            self.values[row] = self.probabilities[row] = self.errors[row] = None
            self.versions[row], self.arms[row] = 0, "person"
            if not any(flag.action == "abstain" for flag in (self.flags[row] if self.flags else ())):
                self.flag(row, [Flag(guard="fallback", action="abstain", says="nothing else could answer")])

    def hand_on(self, rows: Sequence[int], arm: str) -> None:
        """Say that the version of this arm left these to its fallbacks. Its words are the error's affair."""
        version = self.route.versions[arm]
        flag = Flag(guard="fallback", action="fall_back", says=f"version {version} did not answer")
        for row in rows:
            self.flag(row, [flag])

    def flag(self, row: int, flags: Sequence[Flag]) -> None:
        if self.flags is None:
            self.flags = [[] for _ in range(self.asked.height)]
        self.flags[row] = [*self.flags[row], *flags]

    def fail(self, part: Part) -> None:
        """Nobody answers these rows."""
        self.status = 504 if isinstance(part.failure, Deadline) else 503
        self.message = part.failure.what if isinstance(part.failure, PerennialError) else str(part.failure)
        if not self.is_scattered:
            self.part = part
            return
        for at in range(part.asked.height):
            row = part.rows[at] if part.rows is not None else at
            self.errors[row] = self.message
            self.versions[row], self.arms[row] = self.route.versions[part.arm], part.arm

    def give_up(self, rows: Sequence[int], part: Part | None) -> None:
        """The chain has ended: what the last one said of these rows stands."""
        if part is not None and part.failure is not None:
            self.fail(part)
            return
        self.is_exhausted = True
        for row in rows:
            if self.errors[row] is None:
                self.errors[row] = "no fallback is there to answer"
            self.arms[row] = self.arms[row] or "live"

    def frame(self, layout: int, now: float) -> Answered:
        """The request as it is answered."""
        route, wanted = self.route, self.wanted
        frame = Answered(
            id=self.id, at=self.at, layout=layout, key=wanted.key or self.id, request=wanted.digest,
            status=self.status, versions=0, arms="", rows=[], values=[], message=self.message,
            latency_us=int((now - wanted.started) * 1e6), source=wanted.source, flags=self.flags,
        )  # fmt: skip
        part = self.part
        if self.is_scattered:
            frame.versions, frame.arms = _one(self.versions), _one(self.arms)
            frame.values = self.values
            frame.probabilities = _any(self.probabilities)
            frame.errors = _any(self.errors)
            frame.intervals, frame.sets = _any(self.intervals), _any(self.sets)
            if self.status != 200 and wanted.tells_rows and None in self.errors:
                frame.status, frame.message = 200, ""
            elif self.status != 200:
                frame.values, frame.probabilities = [None] * self.asked.height, None
                failed: list[str | None] = [error or self.message for error in self.errors]
                frame.errors = failed
        else:
            assert part is not None
            frame.versions, frame.arms = route.versions[part.arm], part.arm
            if part.told is None:
                frame.values = [None] * self.asked.height
                said: list[str | None] = [self.message] * self.asked.height
                frame.errors = said
            else:
                told = part.told
                frame.values, frame.probabilities, frame.errors = told.values, told.probabilities, told.errors
        if frame.errors is not None and frame.status == 200 and None not in frame.errors:
            # Somebody in the chain may answer later; a version alone that fails on these rows will fail again.
            frame.status, frame.message = 503 if self.is_exhausted else 500, frame.errors[0] or ""
        if "shadow" in route.models and frame.status in (200, 500):
            frame.shadow_version = route.versions["shadow"]
        return frame

    def written(self, frame: Answered) -> Answered:
        """The frame as it is written down: with the rows, as far as the endpoint keeps them."""
        privacy = self.route.privacy
        rows = self.asked.rows()
        if privacy is None:
            frame.rows = rows
            return frame
        return msgspec.structs.replace(
            frame, rows=list(privacy.rows(rows)), flags=privacy.flags(frame.flags), errors=privacy.errors(frame.errors),
            message=privacy.error(frame.message) or "",
        )  # fmt: skip


def _one(values: list[Any]) -> Any:
    """One value where all are the same."""
    first = values[0]
    return first if all(value == first for value in values) else values


def _any(values: list[Any]) -> list[Any] | None:
    return values if any(value is not None for value in values) else None


def _finite(interval: list[float] | None) -> list[float | None] | None:
    """An interval in JSON values: an end that nothing is known of is null."""
    if interval is None:
        return None
    return [bound if bound - bound == 0.0 else None for bound in interval]
