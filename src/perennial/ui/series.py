"""Metrics of runs as lines of a chart: over their steps, or over time where a client logged no steps."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from perennial.api.auth import Caller
from perennial.ui.chart import COLOURS, MANY, SECONDS, STEP, Line
from perennial.ui.making import Asking

__all__ = ["SYSTEM", "Series", "has_steps", "keys_to_draw", "line_of", "natural", "x_name"]

SYSTEM = "system/"  # measurements of the machine, kept apart from what a run found
POINTS = 300  # of a small picture: twice as many as it has pixels to tell apart would be lost
COUNTED = 1000  # values in which NaN is looked for, from the first on

Series = Mapping[str, Any]  # the newest point of a metric, as a run tells it


def has_steps(newest: Series) -> bool:
    """Whether the metric was logged with steps: without, all points lie at step 0."""
    return newest["step"] != 0


def x_name(newest: Series) -> str:
    """What the metric is drawn over."""
    return STEP if has_steps(newest) else SECONDS


def natural(key: str) -> list[tuple[int, str]]:
    """Sorts names as people do: layer 2 before layer 10."""
    parts = re.split(r"([0-9]{1,18})", key)
    return [(int(part), "") if place % 2 else (-1, part) for place, part in enumerate(parts)]


def keys_to_draw(metrics: Mapping[str, Series], text: str = "") -> list[str]:
    """The metrics whose name holds a text, those with steps first."""
    found = [key for key in metrics if text.casefold() in key.casefold()]
    return sorted(found, key=lambda key: (not has_steps(metrics[key]), natural(key)))


def line_of(
    ask: Asking,
    caller: Caller,
    run: Mapping[str, Any],
    key: str,
    *,
    name: str = "",
    points: int = POINTS,
    colour: str = COLOURS[0],
    dash: str = "",
) -> Line:
    """A metric of a run as a line, thin enough to draw however long it is; x is seconds when it has no steps."""
    newest = run["metrics"][key]
    if has_steps(newest):
        thin = ask(caller, "runs.outline", run_id=run["id"], key=key, points=max(2, points))
        x, y = [float(step) for step in thin["step"]], _numbers(thin["value"])
        first = ask(caller, "runs.history", run_id=run["id"], key=key, limit=COUNTED)  # cheap, whatever comes after
        nan = _count_nan(_numbers(first["value"]))
    else:
        thin = ask(caller, "runs.thinned", run_id=run["id"], key=key, points=points)
        x, y = [(at - run["started"]) / 1e6 for at in thin["at"]], _numbers(thin["value"])
        nan = _count_nan(y, points)
    return Line(
        name=name or key,
        x=x,
        y=y,
        colour=colour,
        dash=dash,
        nan=nan,
        is_last_nan=newest["value"] == "NaN",
        infinite=sum(map(math.isinf, y)),
    )


def _count_nan(values: Sequence[float], most: int = COUNTED) -> int:
    """How many are NaN; when only some of the values are at hand, whether some are."""
    found = sum(map(math.isnan, values))
    return MANY if found and len(values) >= most else found


def _numbers(values: Sequence[float | str]) -> list[float]:
    return [float(value) for value in values]
