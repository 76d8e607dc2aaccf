"""The process tree, with real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import psutil
import pytest

from perennial.errors import ConfigError, Failure
from perennial.supervise.tree import Child, Tree

STEADY = "import sys; print('up', flush=True); sys.stdin.read()"


def until(claim: Callable[[], object], within_s: float = 120.0) -> None:
    ends = time.monotonic() + within_s
    while not claim():
        assert time.monotonic() < ends, "it did not become true in time"
        time.sleep(0.01)


def child(name: str, code: str, ready: Callable[[int], bool] = lambda pid: True) -> Child:
    return Child(name=name, argv=[sys.executable, "-c", code], ready=ready, ready_within_s=60.0, stop_within_s=30.0)


@contextmanager
def running(tree: Tree) -> Iterator[None]:
    watching = threading.Thread(target=tree.watch)
    try:
        tree.start()
        watching.start()
        yield
    finally:
        tree.stop()
        if watching.ident:
            watching.join(10)
        tree.end()


def test_children_start_in_order_and_stop_in_the_opposite_order(tmp_path: Path) -> None:
    line = (
        "import signal, sys, pathlib; log = pathlib.Path({path!r}).open('a', buffering=1)\n"
        "def stop(*_): print('-{name}', file=log); sys.exit()\n"
        "signal.signal(signal.SIGTERM, stop); print('+{name}', file=log); sys.stdin.read()"
    )
    events = tmp_path / "events"

    def started(name: str) -> Callable[[int], bool]:
        return lambda pid: events.exists() and f"+{name}" in events.read_text()

    names = ["one", "two", "three"]
    children = [child(name, line.format(path=str(events), name=name), started(name)) for name in names]
    with running(Tree(children, tmp_path, lambda pids: None)):
        pass
    assert events.read_text().split() == ["+one", "+two", "+three", "-three", "-two", "-one"]


def test_a_killed_child_comes_back_and_the_new_process_is_told(tmp_path: Path) -> None:
    told: list[Mapping[str, int]] = []
    with running(Tree([child("one", STEADY)], tmp_path, told.append)):
        os.kill(told[-1]["one"], signal.SIGKILL)
        until(lambda: len(told) == 2 and psutil.pid_exists(told[-1]["one"]))
    assert told[0] != told[1]
    until(lambda: (tmp_path / "one.log").exists())


def test_a_child_that_is_killed_while_a_later_one_starts_comes_back_for_it(tmp_path: Path) -> None:
    told: list[Mapping[str, int]] = []

    def needs_another_one(pid: int) -> bool:
        if len(told) == 2:
            os.kill(told[0]["one"], signal.SIGKILL)
        return len(told) > 2 and psutil.pid_exists(told[-1]["one"])

    children = [child("one", STEADY), child("two", STEADY, needs_another_one)]
    with running(Tree(children, tmp_path, told.append)):
        assert [pids.keys() for pids in told] == [{"one"}, {"one", "two"}, {"one", "two"}]
        assert told[1]["one"] != told[2]["one"]
        assert told[1]["two"] == told[2]["two"]


def test_a_child_that_keeps_ending_is_started_with_growing_pauses(tmp_path: Path) -> None:
    starts: list[float] = []
    tree = Tree([child("one", "")], tmp_path, lambda pids: starts.append(time.monotonic()))
    with running(tree):
        until(lambda: len(starts) == 5)
    pauses = [later - sooner for sooner, later in pairwise(starts)]
    assert pauses[2] >= 0.1
    assert pauses[3] >= 0.2


def test_a_child_that_refuses_its_arguments_is_a_mistake_with_its_last_words(tmp_path: Path) -> None:
    tree = Tree(
        [child("one", "import sys; sys.exit(print('port 1 is busy') or 2)", lambda pid: False)], tmp_path, _none
    )
    with pytest.raises(ConfigError, match="port 1 is busy"):
        tree.start()
    tree.end()


def test_a_child_that_crashes_at_once_is_a_failure_with_its_log(tmp_path: Path) -> None:
    tree = Tree([child("one", "1/0", lambda pid: False)], tmp_path, _none)
    with pytest.raises(Failure, match="ZeroDivisionError") as caught:
        tree.start()
    assert caught.value.where.endswith("one.log")
    tree.end()


def test_a_child_that_will_not_stop_is_killed(tmp_path: Path) -> None:
    stubborn = (
        "import signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); sys.stdin.read()"
    )
    told: list[Mapping[str, int]] = []
    log = tmp_path / "one.log"
    one = Child(
        name="one",
        argv=[sys.executable, "-c", stubborn],
        ready=lambda pid: log.exists() and "up" in log.read_text(),
        stop_within_s=0.2,
    )
    with running(Tree([one], tmp_path, told.append)):
        pass
    assert not psutil.pid_exists(told[0]["one"])


def test_children_end_when_the_parent_is_killed(tmp_path: Path) -> None:
    one = (
        "import os, threading; from perennial.supervise.parent import die_with_parent; "
        "die_with_parent(lambda: os._exit(0)); threading.Event().wait()"
    )
    root = (
        "import sys; from pathlib import Path; from perennial.supervise.tree import Child, Tree\n"
        f"one = Child(name='one', argv=[sys.executable, '-c', {one!r}], ready=lambda pid: True)\n"
        f"tree = Tree([one], Path({str(tmp_path)!r}), lambda pids: print(pids['one'], flush=True))\n"
        "tree.start(); tree.watch()"
    )
    parent = subprocess.Popen([sys.executable, "-c", root], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


def _none(pids: Mapping[str, int]) -> None:
    return None
