"""How often monitors alarm while nothing changes, beside the stated budget: simulated endpoints, a year each.

    python benchmarks/false_alarms.py [ENDPOINTS] [DAYS]

Each endpoint has 25 columns, a calibrated model and between 300 and 3,000 rows a day. Columns are counted bin by bin
(what a monitor keeps of them), answers, losses and service times are drawn row by row. Prints alarms a month by kind.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("POLARS_MAX_THREADS", "1")

import numpy as np
import polars as pl

from perennial.monitor.sample import Sample
from perennial.monitor.watching.budget import SHARES, Budget
from perennial.monitor.watching.expecting import expected_loss
from perennial.monitor.watching.labelled import look_at_labels
from perennial.monitor.watching.service import look_at_service
from perennial.monitor.watching.unlabelled import look_at_inputs
from perennial.monitor.watching.watch import Shift, find_shift
from perennial.monitor.watching.watched import Seen, Watched
from perennial.monitor.windows import DAY, Window

ENDPOINTS, DAYS, COLUMNS, BINS = 1_000, 365, 25, 12
REFERENCE_ROWS = 5_000
MONTH = 30
AT_ROWS = frozenset({"data_quality", "multivariate_shift"})  # need rows, not counts: see `benchmarks/monitoring.py`


def rows_of(draw: np.random.Generator, rows: int, sharpness: float, share: float) -> Sample:
    """Answers of a calibrated model of two classes, and the truth."""
    p = draw.beta(sharpness * share, sharpness * (1.0 - share), rows)
    truth = draw.random(rows) < p
    return Sample(
        inputs=pl.DataFrame({"region": draw.integers(0, 5, rows)}).cast(pl.String),
        task="classification",
        classes=("no", "yes"),
        predictions=pl.Series(np.where(p > 0.5, "yes", "no").tolist()),
        probs=np.column_stack([1.0 - p, p]),
        labels=pl.Series(np.where(truth, "yes", "no").tolist()),
    )


def live(seed: int, days: int) -> Counter[str]:
    """A year of one endpoint; alarms (warn or critical) by kind."""
    draw = np.random.default_rng(seed)
    sharpness, share = draw.uniform(0.5, 4.0), draw.uniform(0.1, 0.9)
    traffic = float(np.exp(draw.uniform(np.log(300), np.log(3000))))
    shares = [draw.dirichlet(np.full(BINS, 2.0)) for _ in range(COLUMNS)]
    reference = rows_of(draw, REFERENCE_ROWS, sharpness, share)
    before = [draw.multinomial(20_000, one).tolist() for one in shares]
    watched = Watched(
        version=1,
        reference=reference,
        expected=expected_loss(reference),
        budget=Budget(),
        window_us=DAY,
        slices=("region",),
        off=AT_ROWS,
    )
    slow, failed, odd = draw.uniform(0.0, 0.01), draw.uniform(0.0, 0.005), draw.uniform(0.0, 0.01)
    state: dict[str, Any] = {}
    found: Counter[str] = Counter()
    for day in range(days):
        weekend = 0.7 if day % 7 >= 5 else 1.0
        rows = max(int(draw.poisson(traffic * weekend * draw.lognormal(0.0, 0.1))), 120)
        window = Window(day * DAY, (day + 1) * DAY)
        sample = rows_of(draw, rows, sharpness, share)
        seen = Seen(
            window=window,
            rows=sample,
            asked=rows,
            failed=int(draw.binomial(rows, failed)),
            slow=int(draw.binomial(rows, slow)),
            flagged=int(draw.binomial(rows, odd)),
        )
        told = []
        for name, look in (
            ("service", look_at_service(watched, state.get("service"), seen)),
            ("inputs", look_at_inputs(watched, state.get("inputs"), seen)),
            ("labels", look_at_labels(watched, state.get("labels"), window, sample)),
        ):
            state[name] = look.state
            told += look.found
        columns = [
            Shift(column=f"c{number}", reference=before[number], current=draw.multinomial(rows, one).tolist())
            for number, one in enumerate(shares)
        ]
        told += find_shift(
            columns, None, version=1, window_from=window.start, window_to=window.end, tolerance=0.05, min_rows=100
        )
        found.update(one.kind for one in told if one.severity != "info")
    return found


def main() -> None:
    endpoints = int(sys.argv[1]) if len(sys.argv) > 1 else ENDPOINTS
    days = int(sys.argv[2]) if len(sys.argv) > 2 else DAYS
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        lives = list(pool.map(live, range(endpoints), [days] * endpoints, chunksize=4))
    months = endpoints * days / MONTH
    total: Counter[str] = sum(lives, Counter())
    print(f"{endpoints} endpoints, {days} days, {COLUMNS} columns: {Budget().says}")
    print("| monitor | alarms a month | its share of the budget |\n|---|---|---|")
    for kind in sorted(SHARES, key=lambda name: -SHARES[name]):
        if kind not in AT_ROWS:
            print(f"| {kind} | {total[kind] / months:.5f} | {SHARES[kind]:.2f} |")
    print(f"| all of these | {total.total() / months:.4f} | {1 - sum(SHARES[kind] for kind in AT_ROWS):.2f} |")
    print(f"endpoints with any alarm in {days} days: {sum(bool(one) for one in lives)}")


if __name__ == "__main__":
    main()
