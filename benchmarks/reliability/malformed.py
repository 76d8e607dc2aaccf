"""S13 and S14: requests that are wrong, and rows that are not as those it was trained on."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from service import Running
from traffic.wire import Connection, Response, response_in

from reliability import hostile_grpc
from reliability.hostile import PROTOCOLS, Hostile, generate
from reliability.trial import Held, Trial

__all__ = ["asked", "malformed", "violations"]

SEED = 20_261_127
TAKEN = (200, 202)
WARM = 2_000  # requests before memory is first looked at


def malformed(trial: Trial) -> list[Held]:
    """100,000 of them (3,000 in a short run), one after the other, then a good one."""
    return asked(trial, 3_000 if trial.short else 100_000)


def asked(trial: Trial, total: int) -> list[Held]:
    """So many of them, a tenth over gRPC."""
    workspace = trial.workspace()
    workspace.desire(trial.endpoint(live=trial.linear(workspace, 1)))
    over_grpc = total // 10
    count = total - over_grpc
    with trial.start(workspace, "--grpc-port", "0") as running:
        spoken = tuple(
            p for p in PROTOCOLS
            if running.send("POST", p.path, p.good(), {"content-type": p.kind, **(p.headers or {})})[0] in TAKEN
        )  # fmt: skip
        address = running.status().grpc
        hostile_grpc.ask(address, min(WARM, over_grpc), SEED - 1)
        _ask(running, generate(min(WARM, count), SEED - 1, spoken))
        before = running.memory()
        workers = sorted(process.pid for process in running.tree())
        began = time.perf_counter()
        seen = _ask(running, generate(count, SEED, spoken))
        told, bad = hostile_grpc.ask(address, over_grpc, SEED)
        took = time.perf_counter() - began
        after = running.memory()
        same = sorted(process.pid for process in running.tree()) == workers
        alive = running.answers("wage", {"x": 1.0})
    grown = after["pss_mb"] - before["pss_mb"]
    missing = [p.name for p in PROTOCOLS if p not in spoken]
    lost = {s: n for s, n in seen.statuses.items() if s.startswith("5") or not s.isdigit()}
    return [
        Held(
            f"{count:,} malformed requests over {len(spoken)} forms of {len({p.path for p in spoken})} protocols: "
            "0 answers of 5xx, each answered",
            f"{dict(sorted(seen.statuses.items()))} in {took:.0f} s"
            + (f"; such as {seen.bad[:3]}" if lost else "")
            + (f"; not spoken: {', '.join(missing)}" if missing else ""),
            not lost,
        ),
        Held(
            f"{over_grpc:,} malformed calls over gRPC: none is told as a failure of ours",
            f"{dict(sorted(told.items()))}" + (f"; such as {bad[:3]}" if bad else ""),
            not bad,
        ),
        Held(
            "what is surely wrong is never answered with 200",
            f"{seen.taken} of {seen.sure:,} were" + (f": {seen.taken_for[:5]}" if seen.taken else ""),
            seen.taken == 0,
        ),
        Held(
            "a 4xx says what is wrong, most of them where",
            f"{seen.explained:,} of {seen.refused:,} have a message, {seen.pointed:,} a pointer to the value",
            seen.explained == seen.refused,
        ),
        Held(
            "the same processes are alive, memory + 50 MB at most",
            f"{'the same' if same else 'others'}, {'answers' if alive else 'dead'}; "
            f"{grown:+.1f} MB, {after['descriptors'] - before['descriptors']:+d} descriptors",
            same and alive and grown <= 50,
        ),
    ]


@dataclass
class _Seen:
    statuses: Counter[str] = field(default_factory=Counter)
    bad: list[str] = field(default_factory=list)
    sure: int = 0
    taken: int = 0
    taken_for: list[str] = field(default_factory=list)
    refused: int = 0
    explained: int = 0
    pointed: int = 0


def _ask(running: Running, requests: Iterable[Hostile]) -> _Seen:
    seen = _Seen()
    connection: Connection | None = None
    for hostile in requests:
        connection = connection or _connected(running)
        got = _answered(connection, hostile.request)
        name = str(got.status) if isinstance(got, Response) else got
        seen.statuses[name] += 1
        seen.sure += hostile.is_surely_wrong
        if not isinstance(got, Response) or got.status >= 500:
            seen.bad.append(f"{hostile.what} -> {name}")
        elif got.status in TAKEN:
            if hostile.is_surely_wrong:
                seen.taken += 1
                seen.taken_for.append(hostile.what)
        elif got.status >= 400:
            seen.refused += 1
            said = b'"message"' in got.body or b'"error"' in got.body
            seen.explained += said or (got.status == 415 and bool(got.body))  # MLflow's server says that in plain text
            seen.pointed += b'"where"' in got.body
        if not isinstance(got, Response) or got.closes:
            connection.close()
            connection = None
    if connection is not None:
        connection.close()
    return seen


def _connected(running: Running) -> Connection:
    connection = Connection(running.host, running.port)
    connection._sock.settimeout(20.0)
    return connection


def _answered(connection: Connection, request: bytes) -> Response | str:
    try:
        connection._sock.sendall(request)
    except (BrokenPipeError, ConnectionResetError):
        pass  # refused before it was read to its end: the answer is there nevertheless
    buffer = b""
    try:
        while (got := response_in(buffer)) is None:
            came = connection.receive()
            if not came:
                return response_in(buffer, ended=True) or "closed"
            buffer += came
    except ConnectionResetError:
        return "reset"
    except TimeoutError:
        return "no answer"
    return got


def violations(trial: Trial) -> list[Held]:
    """What happens to rows outside of what the signature says, and whether somebody counts it."""
    workspace = trial.workspace()
    workspace.desire(trial.endpoint(live=trial.linear(workspace, 1)))
    found = list[Held]()
    with trial.start(workspace) as running:
        for what, row, allowed in (
            ("a column that it does not know", {"x": 1.0, "color": "red"}, (422,)),
            ("a column too few", {"person": "p"}, (422,)),
            ("a text as a number", {"x": "1.5"}, (422,)),
            ("no value where none was missing in training", {"x": None}, (422, 200)),
            ("a whole number for a real one", {"x": 1}, (200,)),
            ("a value far outside of the training range", {"x": 1e12}, (200, 422)),
        ):
            status, told = running.predict("wage", row)
            says = (
                (told.get("where") or told.get("message", "")[:80])
                if status != 200
                else json.dumps(told["predictions"][0])[:120]
            )
            found.append(Held(f"{what}: {' or '.join(map(str, allowed))}", f"{status}, {says}", status in allowed))
        metrics = running.send("GET", "/metrics")[1].decode()
        counted = [
            line
            for line in metrics.splitlines()
            if line[:1] != "#" and any(word in line for word in ("refused", "guard", "invalid", 'code="422"'))
        ]
        found.append(
            Held(
                "refused and flagged rows are counted in /metrics",
                "; ".join(counted)[:300] or "nothing is",
                bool(counted),
            )
        )
    return found
