"""Durable metric writes over HTTP to `perennial up`, beside commits of plain SQLite to the same disk."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import psutil
from measure import Figure, Report, say
from processes import load, up

BATCH = 1000
POINT = '{"key":"loss","value":0.5,"step":{n},"at":1700000000000000}'


def measure(report: Report, folder: Path, *, quick: bool) -> None:
    project = folder / "writes"
    project.mkdir()
    rounds, seconds = 3, 1.0 if quick else 2.0
    with up(project) as server:
        tracking = Tracking(project, server.told["address"], seconds)
        for clients, aim in ((1, "2,500/s"), (16, "8,000/s")):
            say(f"single metrics, {clients} clients")
            tracking.warm(clients)
            ours = tracking.singles(rounds, clients)
            plain = Figure(
                "SQLite, one row a commit, full sync, no HTTP",
                [_commits(folder, 1, seconds) for _ in range(rounds)],
                "writes/s",
            )
            report.add(f"one metric, durable, over HTTP, {clients} at once", ours, plain, aim=aim)
            report.add(
                f"its processor time in the owner, {clients} at once", Figure("Perennial", list(tracking.cpu), "us")
            )
        say(f"batches of {BATCH}")
        ours = tracking.batches(rounds, 5 if quick else 10)
        plain = Figure(
            f"SQLite, {BATCH:,} rows a commit, full sync, no HTTP",
            [_commits(folder, BATCH, seconds) for _ in range(rounds)],
            "metrics/s",
        )
        report.add(f"batches of {BATCH:,} metrics, durable, over HTTP, one at a time", ours, plain, aim="150,000/s")
    tracking.check()


class Tracking:
    """Logs points to one run and counts what was acknowledged."""

    def __init__(self, project: Path, address: str, seconds: float) -> None:
        from perennial.api.connect import calls
        from perennial.store.owner import find_owner

        self._home = project / ".perennial"
        owner = find_owner(self._home)
        assert owner is not None
        self._owner = psutil.Process(owner.pid)
        self._seconds = seconds
        with calls(self._home) as asked:
            self._run = asked.call("runs.start", loop="bench")["id"]
        host, _, port = address.removeprefix("http://").rpartition(":")
        self._request = {
            "host": host,
            "port": int(port),
            "path": "/api/runs/log_metrics",
            # As our own client sends it: with a key, so that a repeated request counts once.
            "headers": {"authorization": f"Bearer {owner.token}", "idempotency-key": f"{self._run}-{{n}}"},
        }
        self._next = 0
        self._acknowledged = 0
        self.cpu: list[float] = []

    def warm(self, clients: int) -> None:
        self._singles(clients, 0.5)

    def singles(self, rounds: int, clients: int) -> Figure:
        self.cpu.clear()
        return Figure("Perennial", [self._singles(clients, self._seconds) for _ in range(rounds)], "writes/s")

    def batches(self, rounds: int, count: int) -> Figure:
        self._batches(2)
        return Figure("Perennial", [self._batches(count) for _ in range(rounds)], "metrics/s")

    def check(self) -> None:
        """Every acknowledged point is stored, once. After the owner has ended."""
        table = sqlite3.connect(f"file:{self._home / 'records.db'}?mode=ro", uri=True)
        (stored,) = table.execute("select count(*) from metrics where run = ?", (self._run,)).fetchone()
        table.close()
        if stored != self._acknowledged:
            raise SystemExit(f"{self._acknowledged} points were acknowledged and {stored} are stored")

    def _singles(self, clients: int, seconds: float) -> float:
        body = f'{{"run_id":"{self._run}","metrics":[{POINT}]}}'
        before = sum(self._owner.cpu_times()[:2])
        told = load(self._request | _bounds(clients, seconds, 100_000, self._next) | {"body": body})
        self._next += 100_000
        self._acknowledged += told["answered"]
        self.cpu.append((sum(self._owner.cpu_times()[:2]) - before) / told["answered"] * 1e6)
        return told["per_s"]

    def _batches(self, count: int) -> float:
        self._next += count
        bounds = _bounds(1, 60.0, count, self._next)
        ends = {"before": f'{{"run_id":"{self._run}","metrics":[', "after": "]}", "point": POINT, "points": BATCH}
        told = load(self._request | bounds | ends)
        self._next += count
        self._acknowledged += told["answered"] * BATCH
        return told["per_s"] * BATCH


def _bounds(clients: int, seconds: float, limit: int, first: int) -> dict[str, float]:
    return {"clients": clients, "seconds": seconds, "limit": limit, "first": first}


def _commits(folder: Path, rows: int, seconds: float) -> float:
    """Rows a second into a table with a key, so many in each commit, forced to disk each time."""
    path = folder / "plain.db"
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    table = sqlite3.connect(path, isolation_level=None)
    table.execute("pragma journal_mode=wal")
    table.execute("pragma synchronous=full")
    table.execute("create table points (run text, key text, step integer, at integer, value real, "
                  "primary key (run, key, step))")  # fmt: skip
    step, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        table.execute("begin")
        made = [("run", "loss", step + i, 1_700_000_000_000_000, 0.5) for i in range(rows)]
        table.executemany("insert into points values (?, ?, ?, ?, ?)", made)
        table.execute("commit")
        step += rows
    taken = time.perf_counter() - began
    table.close()
    return step / taken
