"""A simulated endpoint watched by the code that watches a live one, with its default budget and everything on."""

from __future__ import annotations

from copy import copy
from typing import Any, Self

import numpy as np
import polars as pl
from simulated import Day

from perennial.models.reference import count, profile
from perennial.monitor.findings import NewFinding
from perennial.monitor.sample import Sample
from perennial.monitor.watching.budget import Budget
from perennial.monitor.watching.expecting import expected_loss
from perennial.monitor.watching.labelled import look_at_labels
from perennial.monitor.watching.service import look_at_service
from perennial.monitor.watching.unlabelled import look_at_inputs
from perennial.monitor.watching.watch import Shift, find_shift
from perennial.monitor.watching.watched import Seen, Watched
from perennial.monitor.windows import DAY, Window

TOLERANCE, MIN_ROWS, FORMER = 0.05, 100, 14


class Watch:
    """Day after day: what each monitor remembers, and what it finds."""

    def __init__(self, reference: Day, *, off: frozenset[str] = frozenset()) -> None:
        rows = sample(reference)
        self.watched = watched_of(rows, off=off)
        self.profiles = {name: profile(rows.inputs[name]) for name in rows.inputs.columns}
        self.answers = profile(rows.predictions, as_text=True)
        self.state: dict[str, Any] = {}
        self.former: list[Any] = []

    def branch(self, *, classified_on: int | None = None) -> Self:
        """From here on apart; with the weekly classifier, too, if it is told the day of its last look.

        States are replaced, never changed, so a shallow copy will do.
        """
        other = copy(self)
        other.state, other.former = dict(self.state), list(self.former)
        if classified_on is not None:
            other.watched = watched_of(self.watched.reference)
            other.state["inputs"] = {**self.state["inputs"], "together_at": (classified_on + 1) * DAY}
        return other

    def look(self, number: int, day: Day) -> list[NewFinding]:
        """What is found on one day, labels included."""
        rows, window = sample(day), Window(number * DAY, (number + 1) * DAY)
        seen_profile = self.watched.profiler.profile(rows, window=window)
        seen = Seen(
            window=window,
            rows=rows,
            asked=day.rows,
            failed=day.failed,
            slow=day.slow,
            flagged=day.flagged,
            profile=seen_profile,
            former=tuple(self.former),
        )
        found: list[NewFinding] = []
        for name, look in (
            ("service", look_at_service(self.watched, self.state.get("service"), seen)),
            ("inputs", look_at_inputs(self.watched, self.state.get("inputs"), seen)),
            ("labels", look_at_labels(self.watched, self.state.get("labels"), window, rows)),
        ):
            self.state[name] = look.state
            found += look.found
        self.former = [*self.former, seen_profile][-FORMER:]
        columns = [
            Shift(column=name, reference=one.counts, current=count(one, rows.inputs[name]).tolist())
            for name, one in self.profiles.items()
        ]
        found += find_shift(
            columns,
            Shift(
                column="prediction",
                reference=self.answers.counts,
                current=count(self.answers, rows.predictions).tolist(),
            ),
            version=1,
            window_from=window.start,
            window_to=window.end,
            tolerance=TOLERANCE,
            min_rows=MIN_ROWS,
        )
        return [one for one in found if one.severity != "info"]


def watched_of(reference: Sample, *, off: frozenset[str] = frozenset()) -> Watched:
    """With the default budget, two columns of slices, one of groups."""
    return Watched(
        version=1,
        reference=reference,
        expected=expected_loss(reference),
        budget=Budget(),
        window_us=DAY,
        slices=("t0", "t1"),
        groups=("t1",),
        off=off,
    )


def sample(day: Day) -> Sample:
    """As the service captures it."""
    return Sample(
        inputs=pl.DataFrame(
            {
                name: pl.Series(one.tolist() if one.dtype == object else one, nan_to_null=True)
                for name, one in day.columns.items()
            }
        ),
        task="classification",
        classes=("no", "yes"),
        predictions=words(day.prob > 0.5),
        probs=np.column_stack([1.0 - day.prob, day.prob]),
        labels=words(day.truth),
    )


def words(is_second: np.ndarray[Any, Any]) -> pl.Series:
    return pl.Series(["no", "yes"])[is_second.astype(np.uint32)]
