"""The prediction service beside others: three models, single rows as JSON, every answer checked, capture on.

Requests a second and latency at 1, 16, 64 and 512 at once, memory, and the time from the start of the process to the
first right answer; then latency by an open loop at fractions and multiples of what the closed loop reached. Each model
is measured with every service one after the other, on the same two cores as the generator.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from measure import Figure, Report, say
from traffic.asking import ask

from serving.models import MODELS, Model, make
from serving.ours import FORMS, packaged, serving
from serving.services import LIMITS, PEERS, Peer
from serving.started import NotReady, Started

__all__ = ["measure"]

CLIENTS = (1, 16, 64, 512)
LOADS = (0.5, 0.8, 2.0, 5.0)  # of the capacity
MAX_PER_S = 20_000.0  # what one generator that shares two cores can send
SOURCES = [f"127.0.0.{i}" for i in range(1, 9)]  # an address may hold only so many connections
AIMS = {
    "forest": {1: "5,000/s", 64: "15,000/s"},
    "logistic": {1: "6,000/s", 64: "15,000/s"},
    "boosting": {64: "10,000/s"},
}
Row = dict[str, Any]


def measure(report: Report, folder: Path, *, quick: bool) -> None:
    seconds, rounds = (2.0, 1) if quick else (5.0, 3)
    wanted = os.environ.get("SERVING_MODELS", "").split() or list(MODELS)
    only = os.environ.get("SERVING_PEERS", "").split(";") if os.environ.get("SERVING_PEERS") else None
    for name in wanted:
        place = folder / name
        place.mkdir()
        model = make(name, place)
        say(f"serving: {model.title}")
        rows: dict[str, Row] = {}
        ours, overload = _ours(model, place, seconds, rounds)
        rows |= ours
        limits = LIMITS if name == "forest" else ()
        for peer in (*limits, *PEERS):
            if only is None or peer.title in only:
                row = _peer(peer, model, place, seconds, rounds)
                if row is not None:
                    rows[row.pop("title")] = row
        _headlines(report, model, rows)
        report.text(f"### {model.title[0].upper()}{model.title[1:]}\n\n{table(rows)}")
        if overload:
            report.text(f"Open loop, {model.title}, every request counted from when it was due:\n\n{overload}")


def _ours(model: Model, place: Path, seconds: float, rounds: int) -> tuple[dict[str, Row], str]:
    workspace, form = packaged(model, place / ".perennial")
    say(f"  Perennial, {form}")
    with serving(model, workspace):  # checks the package out, as the first start ever does
        pass
    rows: dict[str, Row] = {}
    with serving(model, workspace) as ours:
        for protocol in FORMS:
            if not ours.speaks(protocol):
                say(f"  it does not speak {protocol} and is not measured with it")
                continue
            title = f"Perennial ({form})" if protocol == "plain" else f"Perennial ({form}), inference protocol"
            rows[title] = _loaded(lambda c, s, p=protocol: ours.ask(c, s, p), seconds, rounds)
            rows[title] |= {"ready_s": ours.ready_s, **ours.memory()}
        first = next(iter(rows))
        rows[first]["parts"] = ours.parts()
        capacity = rows[first][64]["per_s"][0]
        overload = _open(ours, capacity, seconds)
        say(f"  {ours.check_capture():,} rows answered and captured")
    return rows, overload


def _peer(peer: Peer, model: Model, place: Path, seconds: float, rounds: int) -> Row | None:
    python = peer.python()
    if python is None:
        return None
    title = f"{peer.title} {peer.version(python)}"
    say(f"  {title}")
    own = place / "".join(c if c.isalnum() else "-" for c in peer.title)
    own.mkdir()
    try:
        with Started(peer.start(python, model, own), model, own) as started:
            row = _loaded(started.ask, seconds, rounds) | {"title": title, "ready_s": started.ready_s}
            return row | started.memory()
    except NotReady as why:
        say(f"  {title} is left out: {why}")
        return None


def _loaded(asking: Any, seconds: float, rounds: int) -> Row:
    """Rates of all rounds and the latencies of the median one, by the number of clients."""
    row: Row = {}
    asking(16, min(1.0, seconds))  # warms up
    for clients in CLIENTS:
        told = sorted((asking(clients, seconds) for _ in range(rounds)), key=lambda t: t["per_s"])
        middle = told[len(told) // 2]
        wrong = sum(t["wrong"] for t in told)
        row[clients] = {
            "per_s": [middle["per_s"], told[0]["per_s"], told[-1]["per_s"]],
            "all": [t["per_s"] for t in told],
            "latency": middle["accepted"],
            "failed": sum(t["failed"] + t["refused"] for t in told),
            "wrong": wrong,
            "said": next((t["said"] for t in told if t["said"]), {}),
        }
        if wrong:
            say(f"    {wrong} WRONG answers: {row[clients]['said']}")
    return row


def _open(ours: Any, capacity: float, seconds: float) -> str:
    lines = [
        "| load | offered/s | right/s | p50 ms | p99 ms | p99.9 ms | refused (p99 ms) | failed | generator late, ms |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for factor in LOADS:
        rate = factor * capacity
        if rate > MAX_PER_S:
            lines.append(f"| {factor:g} C | {rate:,.0f}, more than the generator can send |  |  |  |  |  |  |  |")
            continue
        wanted = {"mode": "scheduled", "per_s": rate, "seconds": 2 * seconds, "clients": 512, "sources": SOURCES}
        told = ask(ours.loads["plain"] | wanted)
        ours.count(told)
        good, refused = told["accepted"], told["rejected"]
        shown = [f"{good[q]:.2f}" if good["n"] else "" for q in ("p50", "p99", "p999")]
        turned = f"{refused['n']:,} ({refused['p99']:.1f})" if refused["n"] else "0"
        cells = [f"{factor:g} C", f"{told['offered_per_s']:,.0f}", f"{told['per_s']:,.0f}", *shown, turned]
        cells += [f"{told['failed'] + told['wrong']:,}", f"{told['late_ms'].get('p99', 0):.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _headlines(report: Report, model: Model, rows: Mapping[str, Row]) -> None:
    (first, ours), *others = rows.items()
    for clients in (1, 64):
        report.add(
            f"{model.title}, one row as JSON, capture on, {clients} at once",
            Figure(first, ours[clients]["all"], "requests/s"),
            *(Figure(title, row[clients]["all"], "requests/s") for title, row in others),
            aim=AIMS[model.name].get(clients, ""),
        )
    for what, key, unit, aim in (
        ("from start to first right answer", "ready_s", "s", "1.5 s"),
        ("memory (PSS), all processes", "pss_mb", "MB", ""),
    ):
        report.add(
            f"{model.title}: {what}",
            Figure(first, [ours[key]], unit),
            *(Figure(title, [row[key]], unit) for title, row in others),
            aim=aim,
        )
    for name, used in ours["parts"].items():
        report.add(f"{model.title}: memory of one process, {name}", Figure(first, [used], "MB"), aim="220 MB")


def table(rows: Mapping[str, Row]) -> str:
    """One line for each service; latencies are p50 / p99 / p99.9 in ms, ratios those of requests/s to ours."""
    heads = [f"{c} at once: requests/s | ms" for c in CLIENTS]
    lines = [f"| service | ready s | PSS MB (processes) | {' | '.join(heads)} |", f"|{'---|' * (3 + 2 * len(CLIENTS))}"]
    first = next(iter(rows.values()))
    for title, row in rows.items():
        cells = [title, f"{row['ready_s']:.1f}", f"{row['pss_mb']:.0f} ({row['processes']})"]
        for clients in CLIENTS:
            got = row[clients]
            rate, latency = got["per_s"][0], got["latency"]
            ratio = f" (1/{first[clients]['per_s'][0] / rate:.1f})" if row is not first and rate else ""
            failed = f" **{got['failed']} failed**" if got["failed"] else ""
            failed += f" **{got['wrong']} wrong**" if got["wrong"] else ""
            cells.append(f"{rate:,.0f}{ratio}{failed}")
            cells.append(" / ".join(f"{latency[q]:.3g}" for q in ("p50", "p99", "p999")) if latency["n"] else "")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
