"""How often monitors alarm while nothing changes, beside the budget and beside peers: endpoints, a year each.

    python benchmarks/false_alarms.py FILE [ENDPOINTS] [DAYS]   # watch; what is in the file already is not done again
    python benchmarks/false_alarms.py peers FILE [STREAMS] [DAYS] [nannyml | evidently | evidently-summary]
    python benchmarks/false_alarms.py table FILE...             # of what is in the files by now

Each endpoint has 25 columns, a calibrated model of two classes and between 300 and 2,000 rows a day, fewer at weekends.
The monitors are those of a live endpoint, with the default budget. For most endpoints columns are drawn bin by bin
(what the monitors keep of them); answers, truth and groups are drawn row by row. Every 20th is drawn row by row
altogether (`simulated.py`), so that data quality is looked at as well; every 100th also by a classifier of all columns,
which takes seconds. The first streams that are drawn row by row are shown to the peers. One line of JSON an endpoint.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("POLARS_MAX_THREADS", "1")

import numpy as np
import polars as pl
from alarming import peer_days
from scipy.special import gammaincinv
from simulated import Endpoint
from watching import Watch, watched_of, words

from perennial.monitor.sample import Sample
from perennial.monitor.watching.budget import SHARES, Budget
from perennial.monitor.watching.labelled import look_at_labels
from perennial.monitor.watching.service import look_at_service
from perennial.monitor.watching.unlabelled import look_at_inputs
from perennial.monitor.watching.watch import Shift, find_shift
from perennial.monitor.watching.watched import Seen
from perennial.monitor.windows import DAY, Window

ENDPOINTS, DAYS, COLUMNS, BINS, STREAMS = 1_000, 365, 25, 12, 20
ROW_BY_ROW, CLASSIFIED = 20, 100  # every so many
REFERENCE_ROWS, COUNTED_ROWS = 5_000, 20_000
TRAFFIC = (300.0, 2_000.0)
MONTH = 30
AT_ROWS = frozenset({"data_quality", "multivariate_shift"})  # need rows, not counts
TOLERANCE, MIN_ROWS = 0.05, 100
LOOKED_AT = (
    "performance_drop", "data_quality", "concept_drift", "estimated_drop", "covariate_shift", "slice_drop",
    "prediction_shift", "prior_shift", "calibration", "fairness", "unforeseen", "errors", "latency",
    "multivariate_shift", "traffic",
)  # fmt: skip


def main() -> None:
    match sys.argv[1:]:
        case ["peers", file, *rest]:
            for name in rest[2:] or ("nannyml", "evidently", "evidently-summary"):
                peers(Path(file), name, *map(int, rest[:2]))
        case ["table", *files] if files:
            print(table([json.loads(line) for file in files for line in Path(file).read_text("utf-8").splitlines()]))
        case [file, *rest]:
            watch(Path(file), *map(int, rest))
        case _:
            print(__doc__)


def watch(file: Path, endpoints: int = ENDPOINTS, days: int = DAYS) -> None:
    done = {one["endpoint"] for one in _records(file) if one["who"] == "Perennial"}
    for number in range(1, endpoints + 1):
        if number not in done:
            found = of_rows(number, days) if number % ROW_BY_ROW == 0 else of_counts(number, days)
            _append(file, {"who": "Perennial", "endpoint": number, "days": days, **found})


def of_rows(seed: int, days: int) -> dict[str, Any]:
    """A year of an endpoint that is drawn row by row."""
    endpoint = Endpoint(seed, traffic=TRAFFIC)
    off = frozenset[str]() if seed % CLASSIFIED == 0 else frozenset({"multivariate_shift"})
    live = Watch(endpoint.reference(), off=off)
    return _summary([[one.kind for one in live.look(number, endpoint.day(number))] for number in range(days)], off)


def of_counts(seed: int, days: int) -> dict[str, Any]:
    """A year of an endpoint whose columns are drawn bin by bin."""
    draw = np.random.default_rng([seed, 3])
    sharpness, share = draw.uniform(0.5, 4.0), draw.uniform(0.1, 0.9)
    traffic = float(np.exp(draw.uniform(*np.log(TRAFFIC))))
    shares = draw.dirichlet(np.full(BINS, 2.0), COLUMNS)
    reference = _answers(draw, REFERENCE_ROWS, sharpness, share)
    before = draw.multinomial(COUNTED_ROWS, shares).tolist()
    answered = _yes_no(reference)
    watched = watched_of(reference, off=AT_ROWS)
    slow, failed, odd = draw.uniform(0.0, 0.01), draw.uniform(0.0, 0.005), draw.uniform(0.0, 0.01)
    state: dict[str, Any] = {}
    found: list[list[str]] = []
    for day in range(days):
        weekend = 0.7 if day % 7 >= 5 else 1.0
        rows = max(int(draw.poisson(traffic * weekend * draw.lognormal(0.0, 0.1))), 120)
        window = Window(day * DAY, (day + 1) * DAY)
        sample = _answers(draw, rows, sharpness, share)
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
        now = draw.multinomial(rows, shares).tolist()
        told += find_shift(
            [Shift(column=f"c{place}", reference=before[place], current=now[place]) for place in range(COLUMNS)],
            Shift(column="prediction", reference=answered, current=_yes_no(sample)),
            version=1,
            window_from=window.start,
            window_to=window.end,
            tolerance=TOLERANCE,
            min_rows=MIN_ROWS,
        )
        found.append([one.kind for one in told if one.severity != "info"])
    return _summary(found, AT_ROWS)


def peers(file: Path, who: str, streams: int = STREAMS, days: int = DAYS) -> None:
    """The streams that are drawn row by row, a day at a time, to one peer with its defaults."""
    done = {(one["who"], one["endpoint"]) for one in _records(file)}
    name, _, part = who.partition("-")
    for seed in range(ROW_BY_ROW, (streams + 1) * ROW_BY_ROW, ROW_BY_ROW):
        if (who, seed) in done:
            continue
        told = peer_days(name, Endpoint(seed, traffic=TRAFFIC), days, summary=part == "summary")
        if told is None:
            return
        shown = [day["told"] for day in told]
        alarms = {kind: sum(day[kind] for day in shown) for kind in shown[0]}
        _append(file, {"who": who, "endpoint": seed, "days": days, "alarms": alarms, "off": []})


def table(records: list[dict[str, Any]]) -> str:
    """Alarms a month by kind, beside the budget and the peers."""
    ours = [one for one in records if one["who"] == "Perennial"]
    lines = [f"{len(ours)} endpoints, {sum(one['days'] for one in ours) / MONTH:,.0f} months; {Budget().says}.", ""]
    lines += ["| monitor | endpoint months | alarms | a month | at most (95 %) | its share of the budget |"]
    lines += ["|---|---|---|---|---|---|"]
    total = high = 0.0
    for kind in sorted(LOOKED_AT, key=lambda name: -SHARES[name]):  # pyright: ignore[reportArgumentType]
        looked = [one for one in ours if kind not in one["off"]]
        if looked:
            rate, above, cells = _cells([(one["alarms"].get(kind, 0), one["days"]) for one in looked])
            total, high = total + rate, high + above
            lines.append(f"| {kind.replace('_', ' ')} | {cells} | {SHARES[kind]:.2f} |")  # pyright: ignore[reportArgumentType]
    for words_, off in (
        ("all that need no rows of the inputs, all endpoints", None),
        ("all but all columns together, endpoints row by row", frozenset({"multivariate_shift"})),
        ("everything, endpoints row by row that are classified", frozenset[str]()),
    ):
        some = [one for one in ours if off is None or set(one["off"]) <= off]
        share = sum(SHARES[kind] for kind in LOOKED_AT if kind not in (AT_ROWS if off is None else off))  # pyright: ignore[reportArgumentType]
        if some:
            counts = [
                (sum(n for kind, n in one["alarms"].items() if off is not None or kind not in AT_ROWS), one["days"])
                for one in some
            ]
            lines.append(f"| {words_} | {_cells(counts)[2]} | {share:.2f} |")
    lines += [f"| **sum over the kinds** | | | **{total:.4f}** | | {sum(SHARES[kind] for kind in LOOKED_AT):.2f} |"]  # pyright: ignore[reportArgumentType]
    quiet = sum(not sum(one["alarms"].values()) for one in ours)
    lines += ["", f"Without any alarm in all their days: {quiet} of {len(ours)} endpoints.", ""]
    shown = sorted({one["endpoint"] for one in records if one["who"] != "Perennial"})
    same = [one for one in ours if one["endpoint"] in shown]
    lines += [
        f"| on {len(shown)} of the same streams | streams | months | days with an alarm, a month |",
        "|---|---|---|---|",
    ]
    if same:
        rate = sum(one["alarm_days"] for one in same) * MONTH / sum(one["days"] for one in same)
        lines.append(f"| Perennial | {len(same)} | {sum(one['days'] for one in same) / MONTH:,.1f} | {rate:.3f} |")
    for who in sorted({one["who"] for one in records} - {"Perennial"}):
        of = [one for one in records if one["who"] == who]
        for kind in of[0]["alarms"]:
            rate = sum(one["alarms"][kind] for one in of) * MONTH / sum(one["days"] for one in of)
            months = sum(one["days"] for one in of) / MONTH
            lines.append(f"| {who.partition('-')[0]}: {kind} | {len(of)} | {months:,.1f} | {rate:.2f} |")
    return "\n".join(lines)


def _cells(counts: list[tuple[int, int]]) -> tuple[float, float, str]:
    """Alarms a month and an upper limit: the larger of Poisson's and of what drawing endpoints anew gives."""
    alarms, days = (np.array(side, dtype=np.float64) for side in zip(*counts, strict=True))
    months = float(days.sum()) / MONTH
    poisson = float(gammaincinv(float(alarms.sum()) + 1.0, 0.95)) / months
    again = np.random.default_rng(0).integers(0, len(alarms), (1_000, len(alarms)))
    drawn = float(np.quantile(alarms[again].sum(axis=1) * MONTH / days[again].sum(axis=1), 0.95))
    rate, high = float(alarms.sum()) / months, max(poisson, drawn)
    return rate, high, f"{months:,.0f} | {alarms.sum():.0f} | {rate:.5f} | {high:.5f}"


def _answers(draw: np.random.Generator, rows: int, sharpness: float, share: float) -> Sample:
    """Answers of a calibrated model of two classes, and the truth."""
    p = draw.beta(sharpness * share, sharpness * (1.0 - share), rows)
    names = pl.Series(["a", "b", "c", "d", "e"])
    return Sample(
        inputs=pl.DataFrame({name: names[draw.integers(0, many, rows)] for name, many in (("t0", 5), ("t1", 2))}),
        task="classification",
        classes=("no", "yes"),
        predictions=words(p > 0.5),
        probs=np.column_stack([1.0 - p, p]),
        labels=words(draw.random(rows) < p),
    )


def _yes_no(sample: Sample) -> list[int]:
    assert sample.predictions is not None
    yes = int((sample.predictions == "yes").sum())
    return [yes, sample.rows - yes]


def _summary(found: list[list[str]], off: frozenset[str]) -> dict[str, Any]:
    counted = Counter(kind for day in found for kind in day)
    return {"alarms": dict(counted), "alarm_days": sum(bool(day) for day in found), "off": sorted(off)}


def _records(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()] if file.exists() else []


def _append(file: Path, record: dict[str, Any]) -> None:
    with file.open("a", encoding="utf-8") as out:
        out.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
