"""S01 to S04: more than the service can do, deadlines, a stall and its storm, and a neighbour that takes too much."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

from service import Running, Workspace, until
from traffic.asking import Asking, ask

from reliability.known import COUNT
from reliability.refusing import Refusing
from reliability.trial import Held, Trial, ms

__all__ = ["beyond_capacity", "capacity", "deadlines", "noisy_neighbour", "retry_storm"]

BUSY_S, WAIT_S, SLEEP_S = 0.005, 0.005, 0.050
DEADLINE_S = 2.0
TREES, ROWS = (
    1_000,
    20,
)  # a request takes milliseconds, so that a generator on the same cores can send five times too many
REJECTED_MS = 50.0
OWN_PROCESSORS = 4  # from so many on the generators do not take the service's: two of them, and a front and a worker


def capacity(load: Mapping[str, Any], clients: int, seconds: float) -> float:
    """Right answers a second by a closed loop that keeps it busy without a queue that grows."""
    ask({**load, "mode": "closed", "clients": clients, "seconds": 1.0})
    told = ask({**load, "mode": "closed", "clients": clients, "seconds": seconds})
    if told["wrong"] or not told["answered"]:
        raise SystemExit(f"no capacity could be measured: {told['statuses']} {told['said']}")
    return told["per_s"]


def beyond_capacity(trial: Trial) -> list[Held]:
    """Three models, each at 0.8, 2 and 5 times what it can do, then at half of it."""
    found = list[Held]()
    for name, prepare, clients in _models(trial):
        workspace = trial.workspace(name)
        load_of = prepare(workspace)
        with trial.start(workspace, "--timeout-s", str(DEADLINE_S)) as running:
            load = load_of(running) | {"deadline_s": DEADLINE_S}
            found += _overloaded(trial, name, running, load, clients)
    return found


def _models(trial: Trial) -> list[tuple[str, Callable[[Workspace], Callable[[Running], dict[str, Any]]], int]]:
    def known(**cost: float) -> Callable[[Workspace], Callable[[Running], dict[str, Any]]]:
        def prepare(workspace: Workspace) -> Callable[[Running], dict[str, Any]]:
            workspace.desire(trial.endpoint(live=trial.known(workspace, 1, **cost)))
            return lambda running: trial.load(running)

        return prepare

    def forest(workspace: Workspace) -> Callable[[Running], dict[str, Any]]:
        return _forest(trial, workspace)

    return [("busy 5 ms", known(busy_s=BUSY_S), 4), ("waits 5 ms", known(wait_s=WAIT_S), 4), ("forest", forest, 8)]


def _forest(trial: Trial, workspace: Workspace) -> Callable[[Running], dict[str, Any]]:
    """A real tree model, compiled; requests of many rows."""
    import msgspec
    from serving.models import make
    from sklearn.ensemble import RandomForestClassifier

    from perennial.models.preparation import learn
    from perennial.serve.spec import Arm

    model = make("forest", workspace.folder)
    table = model.table()
    preparation = learn(table, target="label", task="classification")
    forest = RandomForestClassifier(TREES, random_state=0).fit(model.x, model.y)
    labels = forest.predict(model.rows).tolist()
    package = workspace.package(forest, preparation, table)
    signature = msgspec.structs.replace(preparation.signature, classes=list(range(10)))
    arm = Arm(version=1, package=package, trusted=True)
    spec = msgspec.structs.replace(
        trial.endpoint("digit", live=arm), task="classification", signature=msgspec.to_builtins(signature)
    )
    workspace.desire(spec)
    columns, count = model.columns, len(model.rows)
    bodies, expected = list[str](), list[list[int]]()
    for sample in range(200):
        rows = [(sample * ROWS + row * 17) % count for row in range(ROWS)]
        by_column = {name: [model.rows[row][i] for row in rows] for i, name in enumerate(columns)}
        bodies.append(json.dumps({"columns": by_column}))
        expected.append([labels[row] for row in rows])

    def load(running: Running) -> dict[str, Any]:
        at = {"host": running.host, "port": running.port, "path": "/predict/digit", "answer": "plain"}
        return at | {"bodies": bodies, "expected": expected}

    return load


def _overloaded(trial: Trial, name: str, running: Running, load: dict[str, Any], clients: int) -> list[Held]:
    seconds = trial.seconds(60.0, 6.0)
    most = capacity(load, clients, trial.seconds(10.0, 3.0))
    calm = ask(trial.opened(load, 0.8 * most, seconds))
    before = running.memory()["pss_mb"]
    found = [Held(f"{name}: capacity, for what follows", f"{most:,.0f} requests/s; at 0.8 C {_told(calm)}", None)]
    for factor, least in ((2.0, 0.90), (5.0, 0.75)):
        told = ask(trial.opened(load, factor * most, seconds))
        after = ask(trial.opened(load, 0.5 * most, trial.seconds(15.0, 8.0)))
        share = told["goodput_per_s"] / most
        found.append(
            Held(
                f"{name}, {factor:g} C for {seconds:g} s: goodput at least {least:.0%} of C",
                f"{share:.0%} ({told['goodput_per_s']:,.0f}/s of {told['offered_per_s']:,.0f}/s offered)",
                share >= least,
            )
        )
        p99, limit = told["accepted"].get("p99"), 3 * calm["accepted"]["p99"]
        found.append(
            Held(
                f"{name}, {factor:g} C: p99 of the accepted at most 3 x that at 0.8 C ({ms(limit)}), below deadline",
                f"{ms(p99)}; {_generator(told)}",
                p99 is not None and p99 <= min(limit, DEADLINE_S * 1e3),
            )
        )
        refused = told["rejected"]
        told_when = told["without_retry_after"] == 0
        is_early = refused["n"] == 0 or refused["p99"] <= REJECTED_MS
        found.append(
            Held(
                f"{name}, {factor:g} C: others get 429/503 and Retry-After, p99 at most {REJECTED_MS:g} ms",
                f"{refused['n']:,} refused, p99 {ms(refused.get('p99'))}, {told['without_retry_after']} without "
                f"Retry-After; {told['failed']} failed, {told['wrong']} wrong {told['statuses']}",
                told_when and is_early and refused["n"] > 0 and not told["failed"] and not told["wrong"],
            )
        )
        took = _normal_after(after, 0.5 * most)
        found.append(
            Held(
                f"{name}, after {factor:g} C: normal again within 5 s",
                "not within the time measured" if took is None else f"{took:g} s",
                took is not None and took <= 5,
            )
        )
    grown = running.memory()["pss_mb"] / before - 1
    found.append(Held(f"{name}: memory grows by 20 % at most", f"{grown:+.1%} of {before:,.0f} MB", grown <= 0.20))
    return found


def _told(told: Mapping[str, Any]) -> str:
    good = told["accepted"]
    return f"p50 {ms(good.get('p50'))}, p99 {ms(good.get('p99'))} ({told['refused']} refused, {told['failed']} failed)"


def _generator(told: Mapping[str, Any]) -> str:
    return f"the generator itself was late by {ms(told['late_ms'].get('p99'))} (p99)"


def _normal_after(told: Mapping[str, Any], per_s: float) -> int | None:
    """The first second from which on nothing but right answers came, at nine tenths of the rate or more."""
    series = told["each_second"][:-1]  # the last one is not whole
    for second in range(len(series)):
        rest = series[second:]
        if all(s["good"] >= 0.8 * per_s and not s["refused"] and not s["failed"] for s in rest):
            return second
    return None


def deadlines(trial: Trial) -> list[Held]:
    """Callers that wait for 100 ms only, at twice the capacity; callers that would wait longer than they may."""
    workspace = trial.workspace()
    workspace.desire(
        trial.endpoint(live=trial.known(workspace, 1, busy_s=BUSY_S)),
        trial.endpoint("slow", live=trial.known(workspace, 2, sleep_s=5.0)),
    )
    found = list[Held]()
    with trial.start(workspace, "--timeout-s", "1.0") as running:
        load = trial.load(running)
        most = capacity(load, 4, 3.0)
        before, holders = _computed(running), _pids(running)
        impatient = trial.load(running, headers={"X-Request-Timeout-Ms": "100"})
        told = ask(trial.opened(impatient, 2 * most, trial.seconds(30.0, 6.0)))
        time.sleep(1.5)
        computed = _computed(running) - before
        is_same = _pids(running) == holders  # a new process begins to count anew
        wasted = max(0.0, 1 - told["answered"] / computed) if computed else 0.0
        found.append(
            Held(
                "2 C with X-Request-Timeout-Ms: 100: what expired in the queue is not computed (wasted at most 1 %)",
                (
                    f"{computed:,.0f} rows computed for {told['answered']:,} answers: {wasted:.1%} wasted"
                    if is_same
                    else f"the process with the model was replaced meanwhile; {told['answered']:,} answers"
                )
                + f"; {told['statuses']}",
                is_same and wasted <= 0.01 and told["answered"] > 0,
            )
        )
        late = told["accepted"].get("p99", 0.0)
        found.append(Held("answered within the 100 ms, + 100 ms", f"p99 {ms(late)}", late <= 200.0))
        for header, least, most_s in (("60000", 0.9, 1.25), ("200", 0.15, 0.45), ("", 0.9, 1.25)):
            time.sleep(1.2)  # until it is known that the one before hangs
            until(lambda: running.status().ready, "the worker in the place of one that was too slow")
            time.sleep(0.5)  # and the fronts know
            began = time.perf_counter()
            status, _ = running.predict("slow", {"x": 1.0}, **({"X-Request-Timeout-Ms": header} if header else {}))
            took = time.perf_counter() - began
            least_s = min(1.0, float(header or 1000) / 1e3)
            says = f"X-Request-Timeout-Ms: {header}" if header else "no header"
            found.append(
                Held(
                    f"a model of 5 s, a limit of 1 s, {says}: 504 after {least_s:g} s, + 0.1 s",
                    f"{status} after {took:.2f} s",
                    status == 504 and least <= took <= most_s,
                )
            )
    return found


def _pids(running: Running) -> list[int]:
    return sorted(process.pid for process in running.of("perennial.serve.worker"))


def _computed(running: Running) -> float:
    until(lambda: running.answers("wage", {"x": COUNT}), "that the model tells how much it computed", 30.0)
    _, told = running.predict("wage", {"x": COUNT})
    return told["predictions"][0]["prediction"]


def retry_storm(trial: Trial) -> list[Held]:
    """All that computes stands still; callers give up after a second and ask twice more, at once."""
    workspace = trial.workspace()
    workspace.desire(trial.endpoint(live=trial.known(workspace, 1, busy_s=BUSY_S)))
    stall, calm, rest = trial.seconds(10.0, 3.0), trial.seconds(10.0, 4.0), trial.seconds(30.0, 12.0)
    with trial.start(workspace, "--timeout-s", "30") as running:
        load = trial.load(running)
        rate = 0.7 * capacity(load, 4, 3.0)
        storm = trial.opened(load, rate, calm + stall + rest, timeout_s=1.0, attempts=3, deadline_s=5.0)
        with Asking(storm) as asking:
            asking.begun()
            time.sleep(calm)
            stopped = [process.pid for process in running.of("perennial.serve.worker")]
            for pid in stopped:
                os.kill(pid, signal.SIGSTOP)
            time.sleep(stall)
            for pid in stopped:
                try:
                    os.kill(pid, signal.SIGCONT)
                except ProcessLookupError:
                    continue  # it was replaced meanwhile
            told = asking.result()
    series = told["each_second"]
    before = sum(s["good"] for s in series[1 : int(calm)]) / (int(calm) - 1)
    resumed = int(calm + stall)
    took = next((i for i in range(len(series) - resumed - 2) if series[resumed + i]["good"] >= 0.9 * before), None)
    shown = " ".join(str(s["good"]) for s in series[max(0, resumed - int(stall) - 1) : resumed + 12])
    return [
        Held(
            f"workers stopped for {stall:g} s at 0.7 C, three attempts each: goodput back to 90 % within 10 s",
            f"{'never' if took is None else f'after {took} s'} ({before:,.0f}/s before; each second: {shown}); "
            f"{told['retries']:,} retries, {told['statuses']}, {told['wrong']} wrong",
            took is not None and took <= 10 and not told["wrong"],
        )
    ]


def noisy_neighbour(trial: Trial) -> list[Held]:
    """One model saturated, broken or hanging, beside another that has little to do.

    Three times in turn, so that what else the machine does meets all alike: the quiet one alone, beside its neighbour,
    and beside the same flood sent to a process that only refuses it. On a machine where the generators have processors
    of their own (four or more) the second is judged by the first. On a smaller one the flood's generator itself takes
    time from the quiet one's, whoever it asks, and the second is judged by the third: the refusing process takes as
    little as can be, so all beyond it is the service's. Both are told.
    """
    workspace = trial.workspace()
    workspace.desire(
        trial.endpoint("quiet", live=trial.linear(workspace, 1)),
        trial.endpoint("loud", live=trial.known(workspace, 2, sleep_s=SLEEP_S)),
        trial.endpoint("busy", live=trial.known(workspace, 3, busy_s=BUSY_S)),
        trial.endpoint("broken", live=trial.known(workspace, 4, raises=True)),
    )
    found = list[Held]()
    with trial.start(workspace, "--timeout-s", "2") as running, Refusing() as refusing:
        for name, version, what in (
            ("loud", 2, "one that sleeps, at 5 times its capacity"),
            ("broken", 4, "one that raises on every row"),
            ("busy", 3, "one that takes a whole core, at 5 times its capacity"),
        ):
            load = trial.load(running, name, (version,))
            rate = 5 * capacity(load, 16, 2.0) if name != "broken" else 200.0
            found.append(_beside(trial, running, load, rate, what, refusing.port))
    return found


def _beside(
    trial: Trial, running: Running, load: dict[str, Any], rate: float, what: str, refusing: int
) -> Held:  # fmt: skip
    seconds, rounds = trial.seconds(15.0, 4.0), 3
    quiet = trial.opened(trial.load(running, "quiet"), 200.0, seconds)
    noise = trial.opened(load, rate, 60.0 + 2 * seconds, timeout_s=3.0)
    alone, beside, bare = list[float](), list[float](), list[float]()
    unwell = asked = 0
    statuses: Counter[str] = Counter()
    for _ in range(rounds):
        alone.append(ask(quiet)["accepted"]["p99"])
        for port, p99s in ((running.port, beside), (refusing, bare)):
            with Asking({**noise, "port": port}) as asking:
                asking.begun()
                told = ask(quiet)
                noisy = asking.stop()
            p99s.append(told["accepted"]["p99"])
            if p99s is beside:
                unwell += told["failed"] + told["refused"] + told["wrong"]
                asked += told["requests"]
                statuses.update(noisy["statuses"])
    shares = _processors() < OWN_PROCESSORS
    by_alone, by_bare = (median(beside) / median(base) - 1 for base in (alone, bare))
    by = "beside a process that only refuses the same flood" if shares else "alone"
    return Held(
        f"a neighbour, {what}, moves the p99 of another model by 10 % at most (judged by that {by})",
        f"{by_alone:+.0%} from alone, {by_bare:+.0%} from beside one that only refuses; alone {_each(alone)}, beside "
        f"the neighbour {_each(beside)}, beside one that refuses {_each(bare)}; {unwell} of {asked} not answered; "
        f"the neighbour at {rate:,.0f}/s: {dict(statuses)}",
        (by_bare if shares else by_alone) <= 0.10 and not unwell,
    )


def _each(p99s: list[float]) -> str:
    return f"{ms(median(p99s))} ({', '.join(f'{p99:.1f}' for p99 in p99s)})"


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
