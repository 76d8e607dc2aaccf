"""Watch a live version window by window: put what was captured into what the monitors look at.

Two detectors, each with a cursor of its own: `inputs` looks at a window when it has closed, `labels` when its labels
have had time to come. Only a version that came with held-out rows is watched so; how it performs label by label, and
shifts of single columns, are followed by `observe` for every version.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import msgspec
import numpy as np
import polars as pl

from perennial.capture.reading import PredictionReader
from perennial.deploy.endpoints import Endpoint
from perennial.loop.declaration import Declaration, MonitorPolicy
from perennial.models.signature import Signature
from perennial.monitor.captured import captured, held_out_rows, signature_of
from perennial.monitor.estimating.track_record import Entry
from perennial.monitor.findings import NewFinding
from perennial.monitor.remembered import NewWindow
from perennial.monitor.sample import Sample
from perennial.monitor.watching.budget import Budget
from perennial.monitor.watching.diagnosed import diagnosed
from perennial.monitor.watching.expecting import expected_loss
from perennial.monitor.watching.labelled import look_at_labels
from perennial.monitor.watching.model import Beside, look_at_model
from perennial.monitor.watching.service import look_at_service
from perennial.monitor.watching.unlabelled import look_at_inputs
from perennial.monitor.watching.usual import Explained
from perennial.monitor.watching.watched import Seen, Watched
from perennial.monitor.windows import Window, closed_windows
from perennial.renew.asking import answered_by_judged, beside
from perennial.renew.correcting import correction_of, shares_now
from perennial.renew.due import DueStep
from perennial.renew.policy import Correctable
from perennial.renew.remembering import Memory, estimated, estimator_of
from perennial.renew.rooms import Rooms
from perennial.types import Micros

__all__ = ["Watcher", "policy_of"]

LOOKS = (("service", look_at_service), ("inputs", look_at_inputs), ("model", look_at_model))
COMPLETE = 0.9  # share of a window's rows whose labels have come: those that come first are not like the others
AGAIN = 1 / 24  # of a window, between two looks whether its labels have come
PATIENCE_US = 7 * 86_400_000_000  # beyond the declared delay, after which a window is looked at as it is


def policy_of(declaration: Declaration) -> MonitorPolicy:
    """How a loop is watched, with what it leaves out."""
    return declaration.monitor or MonitorPolicy()


class Watcher:
    """The windows of one endpoint as they were before `now`. Made anew for each pass."""

    def __init__(
        self,
        rooms: Rooms,
        endpoint: Endpoint,
        declaration: Declaration,
        now: Micros,
        *,
        slow_us: float,
        looked: dict[tuple[str, int], int],
        read: Callable[[int], pl.DataFrame] | None = None,
    ) -> None:
        """`looked`: when windows that wait for labels were last looked at, kept by the caller between passes. `read`
        gives the predictions since a moment, where the caller reads them for others as well.
        """
        assert endpoint.live is not None
        assert endpoint.live_since is not None
        self._rooms = rooms
        self._endpoint = endpoint
        self._declaration = declaration
        self._policy = policy_of(declaration)
        self._now = now
        self._slow_us = slow_us
        self._looked = looked
        self._live = endpoint.live
        self._live_since = endpoint.live_since
        self._reader = PredictionReader(rooms.objects, rooms.predictions)
        self._read = read or self._since
        self._correctable: dict[Window, Correctable] = {}
        self._memory = Memory(rooms, endpoint.name, endpoint.live, endpoint.live_since)

    def due_steps(self) -> list[DueStep]:
        """The steps that closed windows, or windows whose labels have come, make due."""
        return [*self._inputs(), *self._labels()]

    @property
    def _follows_labels(self) -> bool:
        """Whether performance is followed label by label, with a budget that the loop states in labels."""
        return any(trigger.kind == "performance_drop" for trigger in self._declaration.retrain.triggers)

    @cached_property
    def _version(self) -> Any:
        return self._rooms.models.get(name=self._endpoint.name, version=self._live)

    @cached_property
    def _watched(self) -> Watched | None:
        """None for a version without held-out rows, such as an imported model."""
        reference = held_out_rows(self._version, self._rooms.objects)
        if reference is None or reference.rows == 0:
            return None
        groups = self._policy.groups
        if groups is None:
            groups = self._declaration.evaluate.groups if self._declaration.evaluate is not None else ()
        positive = self._declaration.positive
        return Watched(
            version=self._live,
            reference=reference,
            expected=expected_loss(reference),
            budget=Budget(alarms=self._policy.false_alarms, days=self._policy.days),
            window_us=round(self._policy.window_s * 1e6),
            slices=tuple(dict.fromkeys((*self._policy.slices, *groups))),
            groups=groups,
            positive=None if positive is None else str(positive),
            off=frozenset(self._policy.off) | ({"performance_drop"} if self._follows_labels else set()),
        )

    def _inputs(self) -> list[DueStep]:
        cursor, state = self._stands("inputs")
        steps: list[DueStep] = []
        start = cursor or self._live_since
        if not self._may_close(start) or (watched := self._watched) is None:
            return []
        state = {**state, "service": state.get("service") or self._former_service()}
        for window, rows in self._windows(start):
            seen = self._seen(watched, window, rows)
            found: list[NewFinding] = []
            for name, look in LOOKS:
                one = look(watched, state.get(name), seen)
                state = {**state, name: one.state}
                found += one.found
            found = diagnosed(watched, seen.rows, found, released=self._is_new(window))
            assert seen.profile is not None
            kept = self._memory.keep(window, seen.profile, found, seen.estimates)
            steps.append(self._step("inputs", cursor, window.end, state, found, kept))
            cursor = window.end
        return steps

    def _labels(self) -> list[DueStep]:
        cursor, state = self._stands("labels")
        delay = round(self._declaration.label_delay_s * 1e6)
        start = cursor or self._live_since
        if not self._may_close(start, delay) or self._waits() or (watched := self._watched) is None:
            return []
        steps: list[DueStep] = []
        for window, rows in self._windows(start):
            own = self._own(rows)
            come = float(own.is_labelled.mean()) if own.rows else 1.0
            is_over = self._now >= window.end + delay + PATIENCE_US
            if window.end + delay > self._now or not (come >= COMPLETE or is_over):
                self._looked[self._endpoint.name, self._live] = self._now
                break
            look = look_at_labels(watched, state, window, own)
            state = look.state
            found = diagnosed(watched, own, look.found, released=self._is_new(window))
            kept = self._memory.learned(window, own.rows, found, self._judged(watched, window, own))
            steps.append(self._step("labels", cursor, window.end, state, found, kept))
            cursor = window.end
        return steps

    def _waits(self) -> bool:
        """Whether the same rows were looked at a moment ago. Simulated time stands still while labels come."""
        last = self._looked.get((self._endpoint.name, self._live))
        pause = round(self._policy.window_s * 1e6 * AGAIN)
        return last is not None and not self._rooms.clock.is_simulated and self._now - last < pause

    def _is_new(self, window: Window) -> bool:
        """Whether it is the version's first window: what is wrong from the first day on may come with the release."""
        return window.start <= self._live_since

    def _stands(self, name: str) -> tuple[int, dict[str, Any]]:
        held = self._rooms.monitor.detector(endpoint=self._endpoint.name, version=self._live, name=name)
        return (held.cursor, dict(held.state)) if held is not None else (0, {})

    def _step(
        self, name: str, start: int, end: int, state: dict[str, Any], found: list[NewFinding], window: NewWindow
    ) -> DueStep:
        return DueStep(
            version=self._live,
            name=name,
            cursor_from=start,
            cursor_to=end,
            state=state,
            found=found,
            window=window,
        )

    def explained(self, rows: pl.DataFrame, window: Window, *, tolerance: float) -> Explained:
        """What of these rows, whoever answered them, is usual at their time; nothing without held-out rows."""
        if (watched := self._watched) is None:
            return Explained()
        current = watched.profiler.profile(captured(self._reader, rows, self._signature), window=window)
        return self._memory.usual(watched, window.start).explained(current, tolerance=tolerance)

    def diagnosed(self, rows: pl.DataFrame, window: Window, found: list[NewFinding]) -> list[NewFinding]:
        """Findings of others about these rows, the alarms among them with their diagnosis."""
        if all(one.severity == "info" for one in found) or (watched := self._watched) is None:
            return found
        return diagnosed(watched, self._own(rows), found, released=self._is_new(window))

    def correctable(self, window: Window, signature: Signature) -> Correctable:
        """Whether only the shares of classes have moved in a window, so that answers can be corrected for them."""
        if window not in self._correctable:  # several alarms are about one window
            self._correctable[window] = self._judged_shares(window, signature)
        return self._correctable[window]

    def _judged_shares(self, window: Window, signature: Signature) -> Correctable:
        if (watched := self._watched) is None:
            return Correctable(correction=None, says="there are no held-out rows to compare with")
        rows = self._within(window).filter((pl.col("version") == self._live) & pl.col("prediction").is_not_null())
        now = answered_by_judged(self._rooms, self._version, signature, self._reader, rows)
        if isinstance(now, str):
            return Correctable(correction=None, says=f"it cannot be corrected: {now}")
        shift = shares_now(watched.reference, now)
        if shift is None:
            return Correctable(correction=None, says="without probabilities nothing can be corrected")
        if shift.decision != "correct":
            return Correctable(correction=None, says=f"it cannot be corrected: {'; '.join(shift.reasons)}")
        correction = correction_of(self._live, signature, shift)
        return Correctable(correction=msgspec.to_builtins(correction), says=correction.says)

    def _judged(self, watched: Watched, window: Window, own: Sample) -> list[Entry]:
        """What was estimated of a window beside what it has come to."""
        told = self._memory.estimated(window.start)
        estimator = estimator_of(watched, self._memory.record) if told else None
        return [] if estimator is None else estimator.judged(own, told, window=window)

    def _former_service(self) -> dict[str, Any]:
        """A new version goes on with the traffic that its forerunner saw: it is the endpoint's, not a version's."""
        for version in range(self._live - 1, 0, -1):
            held = self._rooms.monitor.detector(endpoint=self._endpoint.name, version=version, name="inputs")
            if held is not None:
                return {"traffic": dict(held.state.get("service") or {}).get("traffic", [])}
        return {}

    def _may_close(self, start: int, delay: int = 0) -> bool:
        """Whether a window from there can have been complete for so long; nothing is read to tell."""
        if start + self._policy.window_s * 1e6 + delay > self._now:
            return False
        catalogue = self._rooms.predictions.chunks(endpoint=self._endpoint.name, since=start, until=self._now)
        return sum(chunk.rows for chunk in catalogue) >= self._policy.min_rows

    def _windows(self, start: int) -> list[tuple[Window, pl.DataFrame]]:
        """Complete windows after a moment, with the rows in them, whoever answered."""
        least, period = self._policy.min_rows, round(self._policy.window_s * 1e6)
        rows = self._read(start)
        at = rows["at"].to_numpy()
        windows = closed_windows(at, start, self._now, min_rows=least, period=period)
        ends = [(int(np.searchsorted(at, window.start)), int(np.searchsorted(at, window.end))) for window in windows]
        return [(window, rows[first:last]) for window, (first, last) in zip(windows, ends, strict=True)]

    def _beside(self, watched: Watched, rows: pl.DataFrame) -> Beside | None:
        own = rows.filter((pl.col("version") == self._live) & pl.col("prediction").is_not_null())
        return beside(self._rooms, self._declaration, self._version, self._signature, watched, self._reader, own)

    def _since(self, start: int) -> pl.DataFrame:
        return self._reader.predictions(endpoint=self._endpoint.name, since=start, until=self._now)

    def _asked_in(self, window: Window) -> Sample:
        """Rows of a former window, whoever answered them."""
        return captured(self._reader, self._within(window), self._signature)

    def _within(self, window: Window) -> pl.DataFrame:
        until = min(window.end, self._now)
        return self._reader.predictions(endpoint=self._endpoint.name, since=window.start, until=until)

    def _own(self, rows: pl.DataFrame) -> Sample:
        """What the live version answered itself."""
        own = rows.filter((pl.col("version") == self._live) & pl.col("prediction").is_not_null())
        return captured(self._reader, own, self._signature)

    @cached_property
    def _signature(self) -> Any:
        return signature_of(self._version, self._rooms.objects)

    def _seen(self, watched: Watched, window: Window, rows: pl.DataFrame) -> Seen:
        flags = rows["flags"].drop_nulls()
        own = self._own(rows)
        profile = watched.profiler.profile(own, window=window)
        estimator = estimator_of(watched, self._memory.record)
        return Seen(
            window=window,
            rows=own,
            profile=profile,
            former=self._memory.sound(window.start),
            beside=lambda: self._beside(watched, rows),
            alike=lambda: self._memory.alike(profile, self._asked_in),
            estimates=() if estimator is None else estimated(watched, estimator, own),
            asked=rows.height,
            failed=rows["error"].drop_nulls().len(),
            slow=rows.filter(pl.col("latency_us") > self._slow_us).height,
            flagged=int((flags != "[]").sum()),
        )
