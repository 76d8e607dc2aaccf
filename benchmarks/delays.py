"""How long after a change the first alarm comes, for the changes of `simulated.py`, beside peers on the same days.

    python benchmarks/delays.py FILE [SEEDS]                     # watch; what is in the file already is not done again
    python benchmarks/delays.py peers FILE [SEEDS] [DAYS] [nannyml | evidently]
    python benchmarks/delays.py table FILE...                    # of what is in the files by now

The budget is one false alarm in 30 days, as in `false_alarms.py`. Two weeks without a change, then up to 60 with it,
1,000 to 2,000 rows a day, labels included, all monitors on; the weekly classifier of all columns, which takes seconds,
only for the one change that is within the tolerance of every column. Day 1 is the first with the change. One line of
JSON for each seed and change: the day of the first alarm and who gave it.
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
from alarming import peer_days
from simulated import CHANGES, Endpoint
from watching import Watch

SEEDS, QUIET, DAYS, PRIOR = 20, 14, 60, 0.2
TRAFFIC = (1_000.0, 2_000.0)
CLASSIFIER = frozenset({"multivariate_shift"})  # once a week, and it takes seconds
CLASSIFIED = frozenset({"means"})  # changes within the tolerance of every single column, which it is for
UNSEEN_BY_PEERS = frozenset({"latency", "errors"})  # nothing of these is in the rows


def main() -> None:
    match sys.argv[1:]:
        case ["peers", file, *rest]:
            for name in rest[2:] or ("nannyml", "evidently"):
                peers(Path(file), name, *map(int, rest[:2]))
        case ["table", *files] if files:
            print(table([json.loads(line) for file in files for line in Path(file).read_text("utf-8").splitlines()]))
        case [file, *rest]:
            watch(Path(file), *map(int, rest))
        case _:
            print(__doc__)


def watch(file: Path, seeds: int = SEEDS) -> None:
    """Two weeks of an endpoint once, then each change from there."""
    done = _done(file, "Perennial")
    for seed in range(seeds):
        left = [change for change in CHANGES if (seed, change) not in done]
        if not left:
            continue
        endpoint = Endpoint(seed, prior=PRIOR, traffic=TRAFFIC)
        live = Watch(endpoint.reference(), off=CLASSIFIER)
        before = sum(bool(live.look(number, endpoint.day(number))) for number in range(QUIET))
        for change in left:
            # Looked at last on the last quiet day, or up to six days before: each phase of the week as often.
            after = live.branch(classified_on=QUIET - 1 - seed % 7) if change in CLASSIFIED else live.branch()
            first = _first(after, endpoint, change)
            about = {"who": "Perennial", "seed": seed, "change": change, "days": DAYS, "false_alarm_days": before}
            _append(file, {**about, "first": first})


def _first(live: Watch, endpoint: Endpoint, change: str) -> dict[str, Any] | None:
    for number in range(QUIET, QUIET + DAYS):
        found = live.look(number, endpoint.day(number, change, QUIET))
        if found:
            kinds = sorted({one.kind for one in found})
            return {
                "day": number - QUIET + 1,
                "by": kinds,
                "critical": any(one.severity == "critical" for one in found),
            }
    return None


def peers(file: Path, name: str, seeds: int = SEEDS, days: int = DAYS) -> None:
    """The same days to one peer with its defaults."""
    done = _done(file, name)
    for seed in range(seeds):
        left = [change for change in CHANGES if change not in UNSEEN_BY_PEERS and (seed, change) not in done]
        if not left:
            continue
        endpoint = Endpoint(seed, prior=PRIOR, traffic=TRAFFIC)
        told = peer_days(name, endpoint, days, first=QUIET, changes=left, until_alarm=True)
        if told is None:
            return
        first: dict[str, dict[str, Any] | None] = dict.fromkeys(left)
        for one in told:
            by = [kind for kind, is_alarm in one["told"].items() if is_alarm]
            if by and first[one["change"]] is None:
                first[one["change"]] = {"day": one["day"] + 1, "by": by}
        for change, found in first.items():
            _append(file, {"who": name, "seed": seed, "change": change, "days": days, "first": found})


def table(records: list[dict[str, Any]]) -> str:
    """Days until the first alarm: median and 90th percentile, the share that is found in the days watched, by what."""
    lines: list[str] = []
    for who in ("Perennial", "nannyml", "evidently"):
        of = [one for one in records if one["who"] == who]
        if not of:
            continue
        days = of[0]["days"]
        lines += [
            "",
            f"| {who}, {len({one['seed'] for one in of})} seeds, {days} days | median | 90 % | found | first told by |",
            "|---|---|---|---|---|",
        ]
        for change, says in CHANGES.items():
            some = [one["first"] for one in of if one["change"] == change]
            if some:
                delays = np.array([np.inf if one is None else one["day"] for one in some])
                told = Counter(kind for one in some if one is not None for kind in one["by"])
                by = ", ".join(f"{kind.replace('_', ' ')} {count}" for kind, count in told.most_common(3))
                cells = " | ".join(_days(float(np.quantile(delays, q, method="higher")), days) for q in (0.5, 0.9))
                lines.append(f"| {says} | {cells} | {np.isfinite(delays).mean():.0%} | {by} |")
    quiet = {one["seed"]: one["false_alarm_days"] for one in records if one["who"] == "Perennial"}
    lines += ["", f"Days with an alarm before the change: {sum(quiet.values())} of {QUIET * len(quiet)}."]
    return "\n".join(lines).strip()


def _days(value: float, most: int) -> str:
    return f"{value:.0f}" if np.isfinite(value) else f"over {most}"


def _done(file: Path, who: str) -> set[tuple[int, str]]:
    lines = file.read_text("utf-8").splitlines() if file.exists() else []
    return {(one["seed"], one["change"]) for one in map(json.loads, lines) if one["who"] == who}


def _append(file: Path, record: dict[str, Any]) -> None:
    with file.open("a", encoding="utf-8") as out:
        out.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
