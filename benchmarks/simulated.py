"""Endpoints that are simulated row by row: 25 columns, a calibrated model, the truth, and ways in which it may change.

numpy alone, so that peers in environments of their own are shown the very same rows. A day's rows depend on the seed,
the day and the change, and on nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

Array = np.ndarray[Any, Any]
NUMBERS, TEXTS = 20, 5
USED = 6  # of the numbers, by the model
REFERENCE_ROWS = 5_000
BEFORE = 1_000_006  # days from here on are shown to nobody as days to come; the weekday of day 0
VALUES = (5, 2, 8, 8, 12)  # of the texts: a region, a group, three more
LIMIT = 3.0  # service times that count as slow, in units of their median
SPREAD = 0.42  # of the logarithm of service times: 0.45 % are slow

# What changes from some day on, in words. The first column, n0, is one that the model uses; n10 one that it does not.
CHANGES: Final[Mapping[str, str]] = {
    "mean": "mean of one column + 0.5 sd",
    "means": "mean of all 20 numbers + 0.2 sd",
    "spread": "spread of one column x 1.5",
    "category": "a new category, 5 % of one column",
    "missing": "20 % of one column missing",
    "unit": "one column x 100 (unit error)",
    "prior": "prior of the rare class 20 % to 35 %",
    "concept": "truth turned round in one region of five",
    "gradual": "mean of one column, to + 1 sd over 30 days",
    "latency": "latency doubled",
    "errors": "failures 0.1 % to 2 %",
}


@dataclass(frozen=True)
class Day:
    """One day: columns by name, probability of the second of two classes, truth, and what the service counted."""

    columns: dict[str, Array]
    prob: Array
    truth: Array
    failed: int
    slow: int
    flagged: int

    @property
    def rows(self) -> int:
        return len(self.prob)


@dataclass(frozen=True)
class Endpoint:
    """One endpoint, all of it told by a seed.

    `prior`: share of the second class, None: some. `traffic`: rows a day, the least and the most.
    """

    seed: int
    prior: float | None = None
    traffic: tuple[float, float] = (300.0, 3_000.0)

    def __post_init__(self) -> None:
        draw = np.random.default_rng([self.seed, 0])
        prior = draw.uniform(0.1, 0.9) if self.prior is None else self.prior
        made: dict[str, Any] = {
            "weights": draw.normal(0.0, draw.uniform(0.3, 1.0), USED),
            "regions": draw.normal(0.0, 0.3, VALUES[0]),
            "shares": [np.full(5, 0.2), *(draw.dirichlet(np.full(many, 5.0)) for many in VALUES[1:])],
            "rows_a_day": float(np.exp(draw.uniform(*np.log(self.traffic)))),
            "failing": draw.uniform(0.0, 0.005) if self.prior is None else 0.001,
            "flagging": draw.uniform(0.0, 0.01),
            "intercept": 0.0,
        }
        object.__setattr__(self, "made", made)
        z, region = draw.normal(size=(USED, 20_000)), draw.choice(VALUES[0], 20_000)
        logit = made["weights"] @ z + made["regions"][region]
        low, high = -10.0, 10.0
        for _ in range(40):
            middle = (low + high) / 2.0
            low, high = (middle, high) if float(_sigmoid(logit + middle).mean()) < prior else (low, middle)
        made["intercept"] = low

    def reference(self) -> Day:
        """Held-out rows: as the days, without a change."""
        return self._rows(np.random.default_rng([self.seed, 1]), REFERENCE_ROWS, "", 0)

    def day(self, number: int, change: str = "", since: int = 0) -> Day:
        """The rows of one day; from the day `since` on with a change."""
        draw = np.random.default_rng([self.seed, 2, number])
        weekend = 0.7 if number % 7 >= 5 else 1.0
        rows = max(int(draw.poisson(self.made["rows_a_day"] * weekend * draw.lognormal(0.0, 0.1))), 120)
        return self._rows(draw, rows, change if number >= since else "", number - since)

    def _rows(self, draw: np.random.Generator, rows: int, change: str, after: int) -> Day:
        many = 4 * rows if change == "prior" else rows
        z = draw.normal(size=(NUMBERS, many))
        codes = [draw.choice(len(shares), many, p=shares) for shares in self.made["shares"]]
        if change == "mean":
            z[0] += 0.5
        elif change == "means":
            z += 0.2
        elif change == "spread":
            z[0] *= 1.5
        elif change == "gradual":
            z[0] += min((after + 1) / 30.0, 1.0)
        seen, lost = z[0], draw.random(many) < (0.2 if change == "missing" else 0.0)
        seen = np.where(lost, 0.0, seen)  # what is missing is imputed by the mean
        base = self.made["intercept"] + self.made["regions"][codes[0]] + self.made["weights"][1:] @ z[1:USED]
        prob, real = (_sigmoid(base + self.made["weights"][0] * first) for first in (seen, z[0]))
        if change == "concept":
            real = np.where(codes[0] == 0, 1.0 - real, real)
        truth = draw.random(many) < real
        if change == "prior":
            ones, zeros = np.flatnonzero(truth), np.flatnonzero(~truth)
            some = int(draw.binomial(rows, 0.35))
            kept = np.sort(np.concatenate([ones[:some], zeros[: rows - some]]))
            z, codes, lost, prob, truth = (
                z[:, kept],
                [code[kept] for code in codes],
                lost[kept],
                prob[kept],
                truth[kept],
            )
        columns: dict[str, Array] = {f"n{place}": _number(place, one) for place, one in enumerate(z)}
        columns["n0"] = np.where(lost, np.nan, columns["n0"])
        if change == "unit":
            columns["n10"] = columns["n10"] * 100.0
        for place, code in enumerate(codes):
            names = np.array([f"t{place}_{value}" for value in range(len(self.made["shares"][place]))], dtype=object)
            columns[f"t{place}"] = names[code]
        if change == "category":
            columns["t2"] = np.where(draw.random(many) < 0.05, "t2_new", columns["t2"])
        times = draw.lognormal(np.log(2.0 if change == "latency" else 1.0), SPREAD, rows)
        failing = 0.02 if change == "errors" else self.made["failing"]
        return Day(
            columns=columns,
            prob=prob,
            truth=truth,
            failed=int(draw.binomial(rows, failing)),
            slow=int((times > LIMIT).sum()),
            flagged=int(draw.binomial(rows, self.made["flagging"])),
        )


def _number(place: int, z: Array) -> Array:
    """Bell-shaped, skew, heavy-tailed or whole numbers."""
    if place % 4 == 1:
        return np.exp(3.0 + 0.6 * z)
    if place % 4 == 2:
        return np.sinh(z) * 4.0
    return np.round(40.0 + 12.0 * z) if place % 4 == 3 else 50.0 + 10.0 * z


def _sigmoid(x: Array) -> Array:
    return 1.0 / (1.0 + np.exp(-x))
