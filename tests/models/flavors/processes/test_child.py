"""A child process: what it prints disturbs nothing, it is started again, and it never outlives us."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest

from perennial.errors import UserCodeError
from perennial.models.flavors.processes.child import Child

# Answers what it is sent; does what it is told by some words.
ECHO = """
import os, subprocess, sys, time
from perennial.models.flavors.processes.messages import received, send
descriptor = int(sys.argv[1])
def answer(message):
    if message == b"raise": raise ValueError("no such thing")
    if message == b"hang": time.sleep(600)
    if message == b"die": os.abort()
    if message == b"print":
        print("x" * 1_000_000)
        sys.stderr.write("y" * 1_000_000)
    if message == b"children":
        return str(subprocess.Popen(["sleep", "600"]).pid).encode()
    return message
while (message := received()) is not None:
    send(descriptor, lambda: answer(message))
"""


def started(**bounds: float) -> Child:
    return Child([sys.executable, "-c", ECHO], b"hello", name="echo", **bounds)


def gone(pid: int, within_s: float) -> bool:
    ends = time.monotonic() + within_s
    while time.monotonic() < ends:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False


@pytest.fixture
def echo() -> Iterator[Child]:
    child = started(answer_s=2.0)
    yield child
    child.close()


def test_the_first_message_is_answered_at_the_start(echo: Child) -> None:
    assert echo.hello == b"hello"


def test_messages_larger_than_a_pipe_go_both_ways(echo: Child) -> None:
    message = os.urandom(20_000_000)
    assert echo.ask(message) == message


def test_what_it_prints_does_not_get_into_the_answers(echo: Child) -> None:
    assert [echo.ask(b"print"), echo.ask(b"next")] == [b"print", b"next"]


def test_what_it_raises_is_told_and_it_goes_on(echo: Child) -> None:
    pid = echo.pid
    with pytest.raises(UserCodeError, match="echo: ValueError: no such thing"):
        echo.ask(b"raise")
    assert echo.ask(b"next") == b"next"
    assert echo.pid == pid


def test_one_that_died_is_started_again_unnoticed(echo: Child) -> None:
    pid = echo.pid  # it has none once it is known to be dead
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert gone(pid, 5)
    assert echo.ask(b"next") == b"next"


def test_one_that_dies_while_it_answers_is_an_error_and_is_started_again(echo: Child) -> None:
    with pytest.raises(UserCodeError, match="ended while it answered: signal 6"):
        echo.ask(b"die")
    assert echo.ask(b"next") == b"next"


def test_one_that_hangs_is_ended_and_started_again(echo: Child) -> None:
    pid = echo.pid
    assert pid is not None
    with pytest.raises(UserCodeError, match="did not answer within 2 s"):
        echo.ask(b"hang")
    assert gone(pid, 5)
    assert echo.ask(b"next") == b"next"


def test_one_that_does_not_start_is_told_with_what_it_printed() -> None:
    with pytest.raises(UserCodeError, match=r"exit code 3\nno such library"):
        Child([sys.executable, "-c", "import sys; print('no such library'); sys.exit(3)"], b"", name="echo")


def test_one_that_takes_too_long_to_start_is_ended() -> None:
    with pytest.raises(UserCodeError, match="within 1 s"):
        Child([sys.executable, "-c", "import time; time.sleep(600)"], b"", name="echo", start_s=1.0)


def test_what_it_started_itself_ends_with_it() -> None:
    child = started()
    grandchild = int(child.ask(b"children"))
    child.close()
    assert gone(grandchild, 5)


def test_one_that_is_forgotten_ends() -> None:
    child = started()
    pid = child.pid
    assert pid is not None
    del child
    assert gone(pid, 5)


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "while it answers"])
def test_it_ends_when_its_parent_is_killed(busy: bool) -> None:
    program = f"""
import json, sys, threading
from perennial.models.flavors.processes.child import Child
child = Child([sys.executable, "-c", {ECHO!r}], b"hello", name="echo")
print(json.dumps([child.pid, int(child.ask(b"children"))]), flush=True)
{'child.ask(b"hang")' if busy else "threading.Event().wait()"}
"""
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pids = json.loads(parent.stdout.readline())
    time.sleep(0.2)
    parent.kill()
    assert [gone(pid, 2.0) for pid in pids] == [True, True]
    parent.wait()
    parent.stdout.close()
