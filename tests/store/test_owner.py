from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from perennial.errors import Conflict, StoreError
from perennial.store.owner import OwnerLock, find_owner
from perennial.testing.crash import Acknowledge, run_in_child
from perennial.types import Micros

NOW = Micros(1)
OWN = """
import sys, pathlib
from perennial.store.owner import OwnerLock
lock = OwnerLock(pathlib.Path(sys.argv[1]))
lock.acquire(now=1, address="http://127.0.0.1:5000")
print("owner", flush=True)
sys.stdin.read()
"""


def test_the_owner_is_found_with_its_address_and_token(tmp_path: Path) -> None:
    assert find_owner(tmp_path) is None
    with OwnerLock(tmp_path) as lock:
        lock.acquire(now=NOW)
        lock.publish("http://127.0.0.1:5001")
        owner = find_owner(tmp_path)
        assert owner == lock.info
        assert owner is not None
        assert (owner.pid, owner.address, owner.epoch) == (os.getpid(), "http://127.0.0.1:5001", 1)
        assert len(owner.token) >= 43
        assert (tmp_path / "owner.json").stat().st_mode & 0o777 == 0o600
    assert find_owner(tmp_path) is None


def test_F11_a_second_owner_is_refused_at_once_and_told_who_the_first_is(tmp_path: Path) -> None:
    with OwnerLock(tmp_path) as lock:
        lock.acquire(now=NOW, address="http://127.0.0.1:5001")
        with pytest.raises(Conflict, match=rf"process {os.getpid()} on .* at http://127.0.0.1:5001"):
            OwnerLock(tmp_path).acquire(now=NOW)
        assert find_owner(tmp_path) == lock.info


def test_F11_after_kill_9_of_the_owner_the_next_one_starts_at_once_with_a_higher_epoch(tmp_path: Path) -> None:
    first = subprocess.Popen([sys.executable, "-c", OWN, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert first.stdout is not None
    assert first.stdout.readline() == b"owner\n"
    with pytest.raises(Conflict, match=f"process {first.pid}"):
        OwnerLock(tmp_path).acquire(now=NOW)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert find_owner(tmp_path) is None
    with OwnerLock(tmp_path) as lock:
        assert lock.acquire(now=NOW).epoch == 2


def test_F01_an_owner_killed_before_it_told_who_it_is_leaves_no_trace(tmp_path: Path) -> None:
    def work(acknowledge: Acknowledge) -> None:
        OwnerLock(tmp_path).acquire(now=NOW)

    for _ in range(3):
        assert run_in_child(work, "owner.locked=kill").was_killed
        assert run_in_child(work, "files.atomic.synced=kill").was_killed
        assert find_owner(tmp_path) is None
    with OwnerLock(tmp_path) as lock:
        assert lock.acquire(now=NOW).epoch == 4


def test_a_line_of_the_lock_file_that_was_cut_short_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "owner.lock").write_bytes(b"1\n2\n3")
    with OwnerLock(tmp_path) as lock:
        assert lock.acquire(now=NOW).epoch == 3


def test_a_child_process_does_not_keep_the_lock(tmp_path: Path) -> None:
    with OwnerLock(tmp_path) as lock:
        lock.acquire(now=NOW)
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert find_owner(tmp_path) is None
    child.communicate(b"\n")


def test_an_owner_needs_a_folder(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot become the owner"):
        OwnerLock(tmp_path / "nowhere").acquire(now=NOW)
