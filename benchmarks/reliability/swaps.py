"""S05 to S08: versions that come, that should not have come, that go again, and that share an endpoint."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from service import Running, Workspace, until
from traffic.asking import Asking, ask

from reliability.overload import capacity
from reliability.trial import Held, Trial, ms

__all__ = ["broken_versions", "hot_swaps", "rollback", "split"]

MAX_PER_S = 8_000.0  # beyond it a generator that shares two cores is late by itself
ROWS = 2  # in a request, so that an answer from two versions would be seen


def hot_swaps(trial: Trial) -> list[Held]:
    """Version after version under load: models that a process of their own answers, then compiled ones."""
    found = list[Held]()
    for name, make in (("user code", trial.known), ("compiled", trial.linear)):
        found += _swapped(trial, name, make)
    return found


def _swapped(trial: Trial, name: str, make: Callable[[Workspace, int], Any]) -> list[Held]:
    count, least = (10, 2_000) if trial.short else (100, 100_000)
    workspace = trial.workspace(name)
    arms = [make(workspace, version) for version in range(1, count + 2)]
    workspace.desire(trial.endpoint(live=arms[0]))
    with trial.start(workspace) as running:
        versions = list(range(1, count + 2))
        load = trial.load(running, versions=versions, rows=ROWS, samples=500)
        most = capacity(load, 16, trial.seconds(5.0, 2.0))
        rate = min(0.7 * most, MAX_PER_S)
        calm = ask(trial.opened(load, rate, trial.seconds(20.0, 5.0)))
        pause = max(0.0, least / rate / count - 1.0)  # so that at least so many requests meet the swaps
        memory, applied = list[tuple[float, float]](), list[float]()
        longest = 10.0 + count * (pause + 30.0)
        began = time.perf_counter()
        with Asking(trial.opened(load, rate, longest)) as asking:
            asking.begun()
            time.sleep(1.0)
            for arm in arms[1:]:
                desired = time.perf_counter()
                workspace.desire(trial.endpoint(live=arm))
                workspace.applied(running)
                applied.append(time.perf_counter() - desired)
                time.sleep(max(pause, 0.5))  # so that each version answers for a while
                memory.append((time.perf_counter() - began, running.memory()["pss_mb"]))
            told = asking.stop()
    requests, wrong, seen = told["requests"], told["wrong"], told["versions"]
    lost, statuses = told["failed"] + told["refused"], told["statuses"]
    p99 = told["accepted"]["p99"]
    calm_ms = calm["accepted"]["p99"]
    slope, spread = _slope(memory)
    return [
        Held(
            f"{name}: 0 failed in {count} swaps at {rate / most:.2g} C ({rate:,.0f}/s), at least {least:,} requests",
            f"{lost} failed of {requests:,} {statuses}; a swap took {np.median(applied):.2f} s "
            f"(longest {max(applied):.2f} s)",
            lost == 0 and requests >= least,
        ),
        Held(
            f"{name}: every answer from exactly one version, and right for it",
            f"{wrong} wrong; {len(seen)} of {count + 1} versions answered",
            wrong == 0 and len(seen) >= count,
        ),
        Held(
            f"{name}: p99 at most twice that without swaps ({ms(calm_ms)})",
            f"{ms(p99)}; the generator itself was late by {ms(told['late_ms'].get('p99'))} (p99)",
            p99 <= 2 * calm_ms,
        ),
        Held(
            f"{name}: memory does not grow with the swaps",
            f"{slope:+.3f} MB for each swap over the second half (a spread of {spread:.0f} MB)",
            slope <= max(0.1, 2 * spread / count),
        ),
    ]


def _slope(memory: list[tuple[float, float]]) -> tuple[float, float]:
    """MB for each swap in the second half, and the standard deviation there."""
    used = np.array([value for _, value in memory[len(memory) // 2 :]])
    if len(used) < 3:
        return float(used[-1] - used[0]) if len(used) else 0.0, 0.0
    return float(np.polyfit(np.arange(len(used)), used, 1)[0]), float(used.std())


def broken_versions(trial: Trial) -> list[Held]:
    """Each of these shall replace a good version under load, and must not."""
    workspace = trial.workspace()
    good = trial.known(workspace, 1)
    cases = {
        "does not load": trial.known(workspace, 2, loads=False),
        "does not repeat its golden answers": trial.known(workspace, 3, drifts=True),
        "has a damaged file": _damaged(workspace, trial.known(workspace, 4)),
        "is not in the store": _absent(workspace, trial.known(workspace, 5)),
    }
    workspace.desire(trial.endpoint(live=good))
    found = list[Held]()
    with trial.start(workspace) as running:
        load = trial.load(running, versions=[1])
        for what, arm in cases.items():
            with Asking(trial.opened(load, 100.0, 60.0)) as asking:
                asking.begun()
                time.sleep(1.0)
                workspace.desire(trial.endpoint(live=arm))
                problem = until(lambda: _problem(running), f"a problem said of a version that {what}", 20.0)
                time.sleep(1.0)
                told = asking.stop()
            found.append(
                Held(
                    f"a version that {what}: the old one goes on, 0 failed, the reason is shown",
                    f"{told['failed'] + told['refused']} failed, {told['wrong']} wrong of {told['requests']}, versions "
                    f"{told['versions']}; says “{problem[:160]}”",
                    not told["failed"] and not told["refused"] and not told["wrong"] and set(told["versions"]) == {"1"},
                )
            )
            workspace.desire(trial.endpoint(live=good))
            workspace.applied(running)
            until(lambda: not _problem(running), "that the problem is over", 20.0)
    return found


def _problem(running: Running) -> str:
    endpoint = running.status().endpoints.get("wage")
    return (endpoint.problem or "") if endpoint is not None else ""


def _damaged(workspace: Workspace, arm: Any) -> Any:
    """The same version with one bit of its model turned over, wherever the store keeps it."""
    from perennial.models.package import read_manifest

    files = read_manifest(workspace.objects.get(arm.package)).files
    name = next(n for n in files if n.endswith((".pkl", ".pickle", ".skops", ".joblib")))
    model = workspace.objects.get(files[name][0])
    for path in (workspace.folder / "objects").rglob("*"):
        if path.is_file() and (at := (data := bytearray(path.read_bytes())).find(model)) >= 0:
            data[at + len(model) // 2] ^= 1
            path.chmod(0o600)
            path.write_bytes(data)
            return arm
    raise SystemExit("the store keeps no plain bytes of the model: nothing can be damaged")


def _absent(workspace: Workspace, arm: Any) -> Any:
    """A version whose package nobody ever put."""
    import msgspec

    return msgspec.structs.replace(arm, package="0" * len(arm.package))


def rollback(trial: Trial) -> list[Held]:
    """By a person, who writes the spec back; and by the service, when the live version only fails."""
    found = list[Held]()
    workspace = trial.workspace()
    good, bad = trial.known(workspace, 1), trial.known(workspace, 2)
    workspace.desire(trial.endpoint(live=good))
    with trial.start(workspace) as running:
        load = trial.load(running, versions=[1, 2])
        times = list[float]()
        lost = 0
        for _ in range(5 if trial.short else 20):
            workspace.desire(trial.endpoint(live=bad))
            workspace.applied(running)
            with Asking(trial.opened(load, 200.0, 60.0)) as asking:
                asking.begun()
                time.sleep(1.0)
                began = time.time()
                workspace.desire(trial.endpoint(live=good))
                workspace.applied(running)
                time.sleep(1.0)
                told = asking.stop()
            lost += told["failed"] + told["refused"] + told["wrong"]
            ended = told["began_at"] + told["version_s"].get("2", [0, 0])[1]
            times.append(max(0.0, ended - began))
        found.append(
            Held(
                "by hand: the last answer of the bad version at most 1 s after the spec, no request fails",
                f"median {np.median(times):.2f} s, longest {max(times):.2f} s in {len(times)} rollbacks; "
                f"{lost} failed or wrong",
                max(times) <= 1.0 and lost == 0,
            )
        )
    found += _automatic(trial, "raises", "on errors: at most 10 s after the 50th bad answer", 10.0, raises=True)
    found += _automatic(trial, "slow", "on latency (no answer in time): at most 30 s", 30.0, sleep_s=5.0)
    return found


def _automatic(trial: Trial, name: str, must: str, limit: float, **fault: Any) -> list[Held]:
    """A live version that fails, with the previous one as its fallback."""
    workspace = trial.workspace(name)
    good, bad = trial.known(workspace, 1), trial.known(workspace, 2, **fault)
    workspace.desire(trial.endpoint(live=bad, fallback=good))
    with trial.start(workspace, "--timeout-s", "1") as running:
        seconds = trial.seconds(60.0, 15.0) if limit > 10 else 20.0
        rate = 50.0 if "raises" in fault else 20.0
        told = ask(trial.opened(trial.load(running, versions=[1, 2]), rate, seconds, timeout_s=5.0))
    bad_each = [s["failed"] + s["refused"] for s in told["each_second"]]
    total, fiftieth = 0, None
    for second, n in enumerate(bad_each):
        total += n
        if fiftieth is None and total >= 50:
            fiftieth = second
    last = max((second for second, n in enumerate(bad_each) if n), default=None)
    ran_on = last is not None and last >= len(bad_each) - 3
    start = fiftieth if fiftieth is not None and "raises" in fault else 0
    took = 0 if last is None else last - start
    return [
        Held(
            f"automatic, {must}",
            ("never: bad answers until the end" if ran_on else f"the last bad answer {took} s after")
            + f"; {total} bad of {told['requests']}, versions {told['versions']}, {told['statuses']}",
            not ran_on and took <= limit,
        )
    ]


def split(trial: Trial) -> list[Held]:
    """10,000 entities at a share of 10 %, asked twice; shadows that are slow, that raise and that die."""
    found = list[Held]()
    workspace = trial.workspace()
    live, canary = trial.linear(workspace, 1), trial.linear(workspace, 2)
    workspace.desire(trial.endpoint(live=live, canary=canary, share=0.1))
    arms: list[dict[str, int]] = []
    with trial.start(workspace) as running:
        for _ in range(2):
            seen: dict[str, int] = {}
            for first in range(0, 10_000, 100):
                rows = [{"person": f"p{i}", "x": float(i)} for i in range(first, first + 100)]
                status, told = running.predict("wage", *rows)
                if status != 200:
                    raise SystemExit(f"not answered: {status} {told}")
                seen |= {row["person"]: p["version"] for row, p in zip(rows, told["predictions"], strict=True)}
            arms.append(seen)
    share = sum(v == 2 for v in arms[0].values()) / len(arms[0])
    moved = sum(arms[0][key] != arms[1][key] for key in arms[0])
    found.append(
        Held(
            "canary: 10 % ± 1.5 % of 10,000 entities; the same entity, the same arm",
            f"{share:.2%}; {moved} entities met another arm the second time",
            abs(share - 0.1) <= 0.015 and moved == 0,
        )
    )
    for what, fault in (("sleeps 0.5 s", {"sleep_s": 0.5}), ("raises", {"raises": True})):
        place = trial.workspace(what)
        primary, shadow = trial.linear(place, 1), trial.known(place, 2, **fault)
        place.desire(trial.endpoint(live=primary))
        with trial.start(place) as running:
            load = trial.opened(trial.load(running), 200.0, trial.seconds(20.0, 5.0))
            without = ask(load)
            place.desire(trial.endpoint(live=primary, shadow=shadow))
            place.applied(running)
            beside = ask(load)
        moved_by = beside["accepted"]["p99"] / without["accepted"]["p99"] - 1
        lost = beside["failed"] + beside["refused"] + beside["wrong"]
        found.append(
            Held(
                f"a shadow that {what} neither delays nor fails the primary",
                f"{lost} of {beside['requests']:,} lost; p50 {ms(without['accepted']['p50'])} to "
                f"{ms(beside['accepted']['p50'])}, p99 {ms(without['accepted']['p99'])} to "
                f"{ms(beside['accepted']['p99'])} ({moved_by:+.0%})",
                lost == 0 and moved_by <= 0.25,
            )
        )
    return found
