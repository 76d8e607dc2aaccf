"""The two loops: clients that wait for their answers, and a schedule that does not."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Mapping
from itertools import count
from typing import Any

import numpy as np

from traffic.samples import Checker, render
from traffic.tally import FAILED, GOOD, REFUSED, WRONG, Tally
from traffic.wire import READ, WRITE, Connection, Poller, Response, response_in

__all__ = ["STOPPED", "closed", "scheduled"]

STOPPED: list[bool] = []  # not empty: ask no more

IDLE_S = 50.0  # a connection that was idle for longer is not used again: the service may be closing it just now
STEP = 7919  # samples are sent in this stride, so that neighbours in time are no neighbours in the data


class _Clients:
    """What both loops do with connections and answers."""

    def __init__(self, wanted: Mapping[str, Any]) -> None:
        self.wanted = wanted
        self.requests = render(wanted)
        self.checker = Checker(wanted)
        self.poller = Poller()
        self.open: dict[int, Connection] = {}
        self._sources = wanted.get("sources") or [""]
        self._opened = count()
        self._number = count(wanted.get("first", 0))
        self.tally = Tally()

    def connect(self) -> Connection | None:
        """One more connection; None when it was refused, which is counted."""
        source = self._sources[next(self._opened) % len(self._sources)]
        try:
            made = Connection(self.wanted["host"], self.wanted["port"], source)
        except OSError as error:
            self.tally.said.setdefault("connect", str(error))
            return None
        self.open[made.fd] = made
        self.poller.add(made.fd)
        return made

    def drop(self, client: Connection) -> None:
        self.open.pop(client.fd, None)
        client.close()

    def next_sample(self) -> int:
        return next(self._number) * STEP % len(self.requests)

    def send(self, client: Connection, sample: int, due: float, attempt: int = 1) -> bool:
        """Whether the connection took it; a dead one is dropped."""
        client.sample, client.due, client.attempt = sample, due, attempt
        client.sent = time.perf_counter()
        try:
            if not client.send(self.requests[sample]):
                self.poller.change(client.fd, READ | WRITE)
        except OSError:
            self.drop(client)
            return False
        return True

    def receive(self, client: Connection, events: int) -> Response | str | None:
        """A response; why there will be none; None while it is not all there."""
        if events & WRITE and client.rest:
            try:
                if client.flush():
                    self.poller.change(client.fd, READ)
            except OSError as error:
                return type(error).__name__
            if events == WRITE:
                return None
        try:
            came = client.receive()
        except BlockingIOError:
            return None
        except OSError as error:
            return type(error).__name__
        if not came:
            return response_in(client.buffer, ended=True) or "closed"
        client.buffer = client.buffer + came if client.buffer else came
        return response_in(client.buffer)

    def count(self, client: Connection, got: Response | str, now: float) -> int:
        """Book what came for the request of this client, and say which kind it was."""
        tally = self.tally
        if isinstance(got, str):
            tally.add(client.due, client.sent, now, FAILED, got)
            return FAILED
        status = str(got.status)
        if got.status == 200:
            is_right, version = self.checker.check(client.sample, got.body)
            if version is not None:
                tally.version(version, now)
            kind = GOOD if is_right else WRONG
        else:
            kind = REFUSED if got.status in (429, 503) else FAILED
            tally.without_retry_after += kind == REFUSED and not got.has_retry_after
            tally.said.setdefault(status, got.body[:300].decode(errors="replace"))
        tally.add(client.due, client.sent, now, kind, status)
        return kind

    def result(self) -> dict[str, Any]:
        told = self.tally.told(deadline_s=self.wanted.get("deadline_s", float("inf")))
        if self.checker.example:
            told["said"]["wrong"] = self.checker.example
        return told


def _say_begun() -> None:
    sys.stderr.write("begun\n")
    sys.stderr.flush()


def closed(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """`clients` connections for `seconds`, or until `limit` requests are sent; each waits for its answer."""
    clients = _Clients(wanted)
    number = 0
    limit = wanted.get("limit", 10**12)
    for _ in range(wanted["clients"]):
        clients.connect()
    if len(clients.open) < wanted["clients"]:
        raise SystemExit(f"{len(clients.open)} of {wanted['clients']} connections: {clients.tally.said}")
    clients.tally = Tally()
    ends = clients.tally.began + wanted["seconds"]
    gives_up = ends + wanted.get("patience_s", 30.0)

    def begin(client: Connection | None) -> None:
        nonlocal number
        if number >= limit or time.perf_counter() > ends or STOPPED:
            if client is not None:
                clients.drop(client)
            return
        number += 1
        client = client or clients.connect()
        if client is None or not clients.send(client, clients.next_sample(), time.perf_counter()):
            clients.tally.add(time.perf_counter(), time.perf_counter(), time.perf_counter(), FAILED, "not sent")

    _say_begun()
    for client in list(clients.open.values()):
        begin(client)
    while clients.open and time.perf_counter() < gives_up:
        for fd, events in clients.poller.wait(0.1):
            client = clients.open.get(fd)
            if client is None:
                continue
            got = clients.receive(client, events)
            if got is None:
                continue
            clients.count(client, got, time.perf_counter())
            if isinstance(got, str) or got.closes:
                clients.drop(client)
                begin(None)
            else:
                begin(client)
    for client in list(clients.open.values()):
        clients.count(client, "no answer", time.perf_counter())
        clients.drop(client)
    return clients.result()


def scheduled(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """`per_s` requests a second for `seconds`, at random moments (Poisson) or evenly (`steady`).

    At most `clients` connections are open; a request that finds none free waits here, and its latency runs. One that
    is not answered `timeout_s` after it was sent is given up; with `attempts` above 1 a caller who was refused or got
    no answer asks again at once (or `backoff_s` later), which is how a storm begins.
    """
    clients = _Clients(wanted)
    draw = np.random.default_rng(wanted.get("seed", 0))
    rate, seconds = wanted["per_s"], wanted["seconds"]
    if wanted.get("steady"):
        due = np.arange(0.0, seconds, 1 / rate)
    else:
        due = np.cumsum(draw.exponential(1 / rate, size=int(rate * seconds * 1.2 + 100)))
        due = due[due < seconds]
    timeout, attempts, backoff = wanted.get("timeout_s", 30.0), wanted.get("attempts", 1), wanted.get("backoff_s", 0.0)
    most = wanted.get("clients", 256)
    free = list[Connection]()
    for _ in range(min(most, wanted.get("warm", 32))):
        client = clients.connect()
        if client is not None:
            free.append(client)
    waiting: deque[tuple[int, float, int]] = deque()  # sample, due, attempt
    again: deque[tuple[float, int, float, int]] = deque()  # not before, sample, due, attempt
    under_way: dict[int, Connection] = {}  # by descriptor, oldest first
    clients.tally = tally = Tally()
    moments = iter((due + tally.began).tolist())
    upcoming = next(moments, None)
    drained_by = tally.began + seconds + timeout + 1.0
    _say_begun()

    def begin(sample: int, moment: float, attempt: int) -> bool:
        while free:
            client = free.pop()
            if client.sent and time.perf_counter() - client.sent > IDLE_S:
                clients.drop(client)
            elif clients.send(client, sample, moment, attempt):
                under_way[client.fd] = client
                return True
        if len(clients.open) >= most:
            return False
        client = clients.connect()
        if client is None or not clients.send(client, sample, moment, attempt):
            now = time.perf_counter()
            tally.add(moment, now, now, FAILED, "not connected")
        else:
            under_way[client.fd] = client
        return True

    def over(client: Connection, got: Response | str, now: float) -> None:
        under_way.pop(client.fd, None)
        is_lost = isinstance(got, str) or got.status in (429, 503, 504)
        if is_lost and client.attempt < attempts:
            tally.retries += 1
            again.append((now + backoff, client.sample, client.due, client.attempt + 1))
        else:
            clients.count(client, got, now)
        if isinstance(got, str) or got.closes:
            clients.drop(client)
        else:
            free.append(client)

    while True:
        now = time.perf_counter()
        if STOPPED and upcoming is not None:
            upcoming, drained_by = None, now + timeout + 1.0
        while upcoming is not None and upcoming <= now:
            waiting.append((clients.next_sample(), upcoming, 1))
            tally.late.append(now - upcoming)
            upcoming = next(moments, None)
        while again and again[0][0] <= now:
            _, sample, moment, attempt = again.popleft()
            waiting.append((sample, moment, attempt))
        while waiting and begin(*waiting[0]):
            waiting.popleft()
        while under_way:
            client = next(iter(under_way.values()))
            if now - client.sent < timeout:
                break
            over(client, "timeout", now)
        if upcoming is None and not waiting and not under_way and not again:
            break
        if now > drained_by:
            for _, moment, _ in waiting:
                tally.add(moment, now, now, FAILED, "never sent")
            break
        nap = min(0.1, upcoming - now) if upcoming is not None else 0.02
        for fd, events in clients.poller.wait(min(nap, 0.005) if again else nap):
            client = clients.open.get(fd)
            if client is None:
                continue
            got = clients.receive(client, events)
            if got is None:
                continue
            if fd in under_way:
                over(client, got, time.perf_counter())
            else:  # an idle connection that the other side closed
                clients.drop(client)
                if client in free:
                    free.remove(client)
    for client in list(clients.open.values()):
        clients.drop(client)
    return clients.result() | {"offered_per_s": len(due) / seconds}
