"""A process is known by its name as long as it lives, and not a moment longer."""

from __future__ import annotations

import subprocess
import sys

from perennial.tracking.process import process_lives, process_name


def test_this_process_lives() -> None:
    assert process_lives(process_name())


def test_a_killed_process_does_not_live_even_before_it_is_buried() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        name = process_name(child.pid)
        assert process_lives(name)
        child.kill()
        while process_lives(name):  # ends as soon as the signal has arrived
            pass
        child.wait()
    assert not process_lives(name)


def test_another_process_of_the_same_number_is_not_taken_for_it() -> None:
    host, pid, _ = process_name().rsplit(":", 2)
    assert not process_lives(f"{host}:{pid}:1.00")


def test_a_process_of_another_machine_is_taken_to_live() -> None:
    assert process_lives("elsewhere.example:1:1.00")
