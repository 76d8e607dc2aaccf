"""S09, S10 and S17: processes that die, that are asked to end, and that begin."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import threading
import time
from typing import Any

from service import until
from traffic.asking import Asking, ask

from reliability.known import CRASH
from reliability.overload import capacity
from reliability.trial import Held, Trial, ms

__all__ = ["cold_start", "deaths", "terminated"]

WORKER = "perennial.serve.worker"
BURST = 4  # kills in a row; who dies more often than that is started again ever later
STEADY_S = 65.0  # after which its deaths are forgotten; with a burst not 75 s, when idle connections are closed


def deaths(trial: Trial) -> list[Held]:
    """Of workers, and of fronts."""
    return dead_workers(trial) + replaced_fronts(trial)


def dead_workers(trial: Trial) -> list[Held]:
    """kill -9 of the process that holds the model, again and again; a row that ends it; a version that always dies."""
    found = list[Held]()
    workspace = trial.workspace()
    workspace.desire(trial.endpoint(live=trial.known(workspace, 1, sleep_s=0.02)))
    kills = 3 if trial.short else 20
    with trial.start(workspace) as running:
        load = trial.opened(trial.load(running), 200.0, kills * 40.0)
        before = running.memory()["pss_mb"]
        back = list[float]()
        with Asking(load) as asking:
            asking.begun()
            time.sleep(1.0)
            for kill in range(kills):
                if kill and kill % BURST == 0:
                    time.sleep(STEADY_S)
                pids = [process.pid for process in running.of(WORKER)]
                began = time.perf_counter()
                for pid in pids:
                    os.kill(pid, signal.SIGKILL)
                until(lambda: running.answers("wage", {"x": 1.0}), "an answer after the kill", 20.0)
                back.append(time.perf_counter() - began)
                time.sleep(max(0.0, 3.5 - back[-1]))
            told = asking.stop()
        grown = running.memory()["pss_mb"] - before
    allowed = {"200", "503"}
    found.append(
        Held(
            f"{kills} kill -9 under load: every request is answered, or refused with 503 and Retry-After",
            f"{told['statuses']} of {told['requests']:,}, {told['wrong']} wrong, {told['without_retry_after']} without "
            "Retry-After",
            set(told["statuses"]) <= allowed and not told["wrong"] and not told["without_retry_after"],
        )
    )
    found.append(
        Held("answers again at most 2 s + loading after", f"longest {max(back):.2f} s", max(back) <= 2.0 + 3.0)
    )
    found.append(Held("the service's memory stays flat", f"{grown:+.1f} MB after {kills} kills", grown <= 20.0))
    place = trial.workspace("deadly row")
    place.desire(trial.endpoint(live=trial.known(place, 1)))
    with trial.start(place) as running:
        with Asking(trial.opened(trial.load(running), 100.0, 60.0)) as asking:
            asking.begun()
            time.sleep(1.0)
            status, _ = running.predict("wage", {"x": CRASH})
            time.sleep(3.0)
            told = asking.stop()
        found.append(
            Held(
                "a row that ends the process fails alone: its neighbours are answered or may try again",
                f"the row: {status}; the others: {told['statuses']}",
                status in (500, 503) and set(told["statuses"]) <= allowed,
            )
        )
        for _ in range(4):
            with contextlib.suppress(OSError, http.client.HTTPException):
                running.predict("wage", {"x": CRASH})
        until(lambda: running.answers("wage", {"x": 1.0}), "an answer after five deadly rows", 60.0)
    place = trial.workspace("quarantine")
    good, bad = trial.known(place, 1), trial.known(place, 2)
    place.desire(trial.endpoint(live=bad, fallback=good))
    with trial.start(place) as running:
        began = time.perf_counter()
        for _ in range(6):
            with contextlib.suppress(OSError, http.client.HTTPException):
                running.predict("wage", {"x": CRASH})
        answered = until(lambda: running.answers("wage", {"x": 1.0}), "an answer from either version", 60.0)
        status, told = running.predict("wage", {"x": 1.0})
        version = told["predictions"][0]["version"] if status == 200 else None
        endpoint = running.status().endpoints["wage"]
        said = list(endpoint.broken) or endpoint.problem
        found.append(
            Held(
                "three crashes within 5 minutes: the version is taken out, the fallback answers",
                f"version {version} answers ({'fallback' if version == 1 else 'still the live one'}); says {said}; "
                f"{time.perf_counter() - began:.1f} s for six deadly rows",
                bool(answered) and version == 1,
            )
        )
    return found


def terminated(trial: Trial) -> list[Held]:
    """SIGTERM with requests in flight, again and again, and the start after it."""
    workspace = trial.workspace()
    workspace.desire(trial.endpoint(live=trial.known(workspace, 1, sleep_s=0.2)))
    rounds = 3 if trial.short else 20
    codes, took, unready, gaps = set[int](), list[float](), list[float](), list[float]()
    asked = answered = lost = 0
    failures: dict[str, int] = {}
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    captured_before = 0
    for _ in range(rounds):
        with trial.start(workspace, "--port", str(port)) as running:
            results: list[Any] = []
            ready = threading.Event()

            def one(index: int, running: Any = running, results: list[Any] = results) -> None:
                try:
                    results.append(running.predict("wage", {"person": f"p{index}", "x": float(index)})[0])
                except (OSError, http.client.HTTPException) as error:
                    results.append(type(error).__name__)

            for i in range(8):
                running.predict("wage", {"x": float(i)})
                answered += 1
            threads = [threading.Thread(target=one, args=(i,)) for i in range(24)]
            watch = threading.Thread(target=_await_unready, args=(running.host, port, ready))
            for thread in threads:
                thread.start()
            time.sleep(0.1)  # they are in flight
            watch.start()
            time.sleep(0.05)
            began = time.perf_counter()
            running.process.send_signal(signal.SIGTERM)
            ready.wait(10.0)
            unready.append(time.perf_counter() - began)
            codes.add(running.process.wait(60.0))
            took.append(time.perf_counter() - began)
            for thread in (*threads, watch):
                thread.join()
            asked += len(threads)
            answered += sum(r == 200 for r in results)
            for result in results:
                if result != 200:
                    lost += 1
                    failures[str(result)] = failures.get(str(result), 0) + 1
        began = time.perf_counter()
    captured = workspace.captured() - captured_before
    with trial.start(workspace, "--port", str(port)) as running:
        until(lambda: running.answers("wage", {"x": 1.0}), "an answer after the restart", 30.0)
        gaps.append(time.perf_counter() - began)
    return [
        Held(
            f"{rounds} x SIGTERM with 24 requests in flight: all of them are answered",
            f"{lost} of {asked} lost {failures or ''}",
            lost == 0,
        ),
        Held(
            "not ready at most 100 ms after",
            f"longest {max(unready) * 1e3:.0f} ms (a look every 5 ms)",
            max(unready) <= 0.1,
        ),
        Held(
            "exit code 0 within 30 s",
            f"codes {sorted(codes)}, longest {max(took):.1f} s",
            codes == {0} and max(took) <= 30,
        ),
        Held("every answer is captured", f"{captured:,} captured of {answered:,} answered", captured == answered),
        Held("the next start answers", f"{gaps[0]:.1f} s from its start to the first answer", None),
    ]


def replaced_fronts(trial: Trial) -> list[Held]:
    """Front after front is killed under an open load and replaced: its own connections are cut off, no others."""
    workspace = trial.workspace("fronts")
    workspace.desire(trial.endpoint(live=trial.linear(workspace, 1)))
    rounds, clients, rate = 5 if trial.short else 50, 8, 200.0
    took = list[float]()
    with trial.start(workspace, "--fronts", "2") as running:
        load = trial.opened(trial.load(running), rate, 30.0 + rounds * 20.0, clients=clients)
        with Asking(load) as asking:
            asking.begun()
            for turn in range(rounds):
                known = [process.pid for process in until(lambda: _fronts(running, 2), "both fronts", 30.0)]
                began = time.perf_counter()
                os.kill(known[turn % 2], signal.SIGKILL)
                until(lambda known=known: _others(running, known), "a new front", 30.0)
                took.append(time.perf_counter() - began)
                time.sleep(0.5)
            told = asking.stop()
    lost = told["failed"] + told["refused"]
    answered = told["requests"] - lost
    return [
        Held(
            f"{rounds} x one of two fronts killed under {rate:g}/s on {clients} connections: at most one request "
            "of each is lost, none wrong",
            f"{lost} lost of {told['requests']:,} {told['statuses']}, {told['wrong']} wrong; replaced in "
            f"{sorted(took)[len(took) // 2]:.2f} s (longest {max(took):.2f} s)",
            lost <= clients * rounds and told["wrong"] == 0,
        ),
        Held(
            "every answer is captured",
            f"{workspace.captured():,} captured of {answered:,} answered",
            workspace.captured() >= answered,
        ),
    ]


def _fronts(running: Any, count: int) -> list[Any]:
    """The processes that answer clients, once there are so many."""
    found = running.of("perennial.serve.front")
    return found if len(found) == count else []


def _others(running: Any, known: list[int]) -> bool:
    pids = {process.pid for process in _fronts(running, len(known))}
    return bool(pids - set(known)) and running.status().ready


def _await_unready(host: str, port: int, told: threading.Event) -> None:
    """Set `told` when `/readyz` is no longer 200, asked on connections of their own."""
    while True:
        connection = http.client.HTTPConnection(host, port, timeout=2.0)
        try:
            connection.request("GET", "/readyz")
            if connection.getresponse().status != 200:
                break
        except (OSError, http.client.HTTPException):
            break
        finally:
            connection.close()
        time.sleep(0.005)
    told.set()


def cold_start(trial: Trial) -> list[Held]:
    """Start after start: when it says that it is ready, and how quick the first requests are."""
    found = list[Held]()
    for name, make in (("user code", trial.known), ("compiled", trial.linear)):
        workspace = trial.workspace(name)
        workspace.desire(trial.endpoint(live=make(workspace, 1)))
        starts, first_ms, steady_ms, early = list[float](), list[float](), list[float](), 0
        for _ in range(2 if trial.short else 10):
            with workspace.serve() as running:
                early += _answered_before_ready(running)
                starts.append(time.perf_counter() - running.began)
                load = trial.load(running)
                first = ask({**load, "mode": "closed", "clients": 1, "seconds": 30.0, "limit": 100})
                capacity(load, 1, 1.0)
                steady = ask({**load, "mode": "closed", "clients": 1, "seconds": 30.0, "limit": 1000})
                first_ms.append(first["accepted"]["p99"])
                steady_ms.append(steady["accepted"]["p99"])
        ratios = sorted(a / b for a, b in zip(first_ms, steady_ms, strict=True))
        middle = ratios[len(ratios) // 2]
        found += [
            Held(f"{name}: not ready until warm", f"{early} answers before /readyz said 200", early == 0),
            Held(
                f"{name}: p99 of the first 100 requests at most 3 x that of later ones",
                f"{middle:.1f} x (median of {len(ratios)}; {ms(min(first_ms))} to {ms(max(first_ms))} beside "
                f"{ms(min(steady_ms))} to {ms(max(steady_ms))})",
                middle <= 3.0,
            ),
            Held(
                f"{name}: from the start of the process to ready",
                f"median {sorted(starts)[len(starts) // 2]:.2f} s",
                None,
            ),
        ]
    return found


def _answered_before_ready(running: Any) -> int:
    """How many predictions were answered with 200 while `/readyz` did not say so."""
    early = 0
    ends = time.monotonic() + 60.0
    while time.monotonic() < ends:
        status, _ = running.predict("wage", {"x": 1.0})
        if running.send("GET", "/readyz")[0] == 200:
            return early
        early += status == 200
        time.sleep(0.01)
    raise SystemExit("it did not get ready within 60 s")
