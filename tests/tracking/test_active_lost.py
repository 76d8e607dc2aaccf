"""Runs whose program, owner or network goes: nothing is lost, and training never fails because of it."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import perennial
from perennial.api.reconciler import send_what_is_left
from perennial.cli.main import main
from perennial.clock import SystemClock
from perennial.config import Settings
from perennial.errors import Invalid, Unavailable
from perennial.store.files import LocalFiles
from perennial.store.workspace_folder import WorkspaceFolder, create_folder
from perennial.tracking.frames import encode_points
from perennial.tracking.spool import Spool
from perennial.workspace import Owned, Workspace
from tests.store.new_records import with_records
from tests.tracking.active import QUIET, joined, run_script, served, until, values


@pytest.fixture
def folder(tmp_path: Path) -> WorkspaceFolder:
    return with_records(create_folder(tmp_path / "ws", now=SystemClock().now()))


@pytest.fixture
def ws(folder: WorkspaceFolder) -> Iterator[Workspace]:
    with Owned(folder, Settings()).workspace as ws:
        yield ws


LOGS_AND_DIES = """
import sys, perennial
with perennial.open(sys.argv[1]) as ws:
    run = ws.runs.start("killed", code=False, system=False)
    print(run.id, flush=True)
    for step in range(10**6):
        run.log(loss=float(step), step=step)
        print(step, flush=True)
"""


def test_F32_what_a_killed_process_was_told_is_kept_arrives_once_with_the_next_run(folder: WorkspaceFolder) -> None:
    chance = random.Random(32)
    told: dict[str, int] = {}
    for _ in range(5):
        program = subprocess.Popen(
            [sys.executable, "-c", LOGS_AND_DIES, str(folder.root)], stdout=subprocess.PIPE, text=True
        )
        assert program.stdout is not None
        run_id = program.stdout.readline().strip()
        for _ in range(chance.randint(1, 3_000)):
            program.stdout.readline()
        program.kill()
        rest = program.stdout.read().split("\n")  # a number that was cut off by the kill was not told
        program.stdout.close()
        program.wait()
        whole = [line for line in rest[:-1] if line]
        told[run_id] = int(whole[-1]) if whole else 0
    with perennial.open(folder.root) as ws:
        with ws.runs.start("next", **QUIET):
            pass
        until(lambda: not ws.runs.unsent().spools)
        for run_id, last in told.items():
            found = values(ws, run_id, "loss")
            assert found == list(range(len(found)))  # each once, without a gap
            assert len(found) > last
            assert ws.runs.get(run_id=run_id).status == "killed"


def test_F32_the_owner_is_killed_while_points_are_logged(folder: WorkspaceFolder) -> None:
    slowest = 0.0
    with served(folder):
        ws = joined(folder)
        run = ws.runs.start("x", **QUIET).__enter__()
        step = 0
        for step in range(3_000):
            run.log(loss=float(step), step=step)
        until(lambda: run.counts.stored > 0)
    for step in range(3_000, 20_000):  # nobody is there
        began = time.perf_counter()
        run.log(loss=float(step), step=step)
        slowest = max(slowest, time.perf_counter() - began)
    run.log_params(depth=3)
    assert run.counts.pending >= 17_000
    assert slowest < 1.0  # it waits for no owner; the machine may be busy
    for _ in range(2):
        with served(folder):
            before = run.counts.stored
            for later in range(step + 1, step + 2_001):
                run.log(loss=float(later), step=later)
            step += 2_000
            until(lambda before=before: run.counts.stored > before)  # type: ignore[misc]
    with served(folder):
        run.__exit__(None, None, None)
        assert values(ws, run.id, "loss") == list(range(24_000))
        found = ws.runs.get(run_id=run.id)
        assert (found.status, found.params) == ("finished", {"depth": "3"})
        assert run.counts == (24_000, 24_000, 0, 0, 0)
        ws.close()
    assert not list(folder.spool.iterdir())


def test_F32_a_run_begins_and_ends_while_nobody_answers_and_arrives_later(
    folder: WorkspaceFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    given: dict[str, Any] = {"params": {"a": 1}, "tags": {"b": "c"}, "wait_s": 0.2}
    with joined(folder, patience_s=0.1) as ws, ws.runs.start("away", **given, **QUIET) as run:
        for step in range(1_500):
            run.log(loss=float(step))
        run.log_text("hallo", "a.txt")
    told = capsys.readouterr().err
    assert "1,500 points are not sent yet" in told
    assert "perennial runs send" in told
    assert main(["runs", "unsent", "--json", "--home", str(folder.root)]) == 0
    left = json.loads(capsys.readouterr().out)
    assert left["received"] == left["stored"] + left["refused"] + left["dropped"] + left["pending"] == 1_500
    assert left["pending"] == 1_500
    assert main(["runs", "unsent", "--home", str(folder.root)]) == 0
    assert "1500 received = 0 stored" in capsys.readouterr().out
    assert main(["runs", "send", "--home", str(folder.root)]) == 0
    assert "1500 points stored" in capsys.readouterr().out
    assert main(["runs", "unsent", "--home", str(folder.root)]) == 0
    assert "everything has arrived" in capsys.readouterr().out
    with perennial.open(folder.root) as ws:
        found = ws.runs.get(run_id=run.id)
        assert (found.status, found.loop, found.params) == ("finished", "away", {"a": "1"})
        assert found.tags["b"] == "c"
        assert [file.path for file in found.artifacts] == ["a.txt"]
        assert values(ws, run.id, "loss") == list(range(1_500))


def test_P3_over_the_cap_points_are_dropped_and_the_run_says_so(
    folder: WorkspaceFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    ws = joined(folder, patience_s=0.1, settings=Settings(max_spool_bytes=10_000))
    with ws, ws.runs.start("away", wait_s=0.1, **QUIET) as run:
        for step in range(2_000):
            run.log(loss=float(step))
    counts = run.counts
    assert counts.dropped > 1_000
    assert counts.received == counts.stored + counts.refused + counts.dropped + counts.pending == 2_000
    assert "points are lost" in capsys.readouterr().err
    with perennial.open(folder.root) as ws:
        left = ws.runs.unsent()
        assert (left.received, left.dropped, left.pending) == (2_000, counts.dropped, counts.pending)
        ws.runs.send_left()
        assert values(ws, run.id, "loss") == list(range(counts.pending))
        assert ws.runs.get(run_id=run.id).tags["points_dropped"] == str(counts.dropped)


def test_a_point_that_is_refused_goes_aside_and_blocks_no_other(ws: Workspace) -> None:
    run = ws.runs.start(loop="x")
    spool = Spool(ws.folder.spool, run.id, is_owner=False, cap_bytes=1 << 20, files=LocalFiles())
    for step in range(100):
        spool.append(encode_points(1_000 + step, step, {"a//b" if step == 37 else "loss": float(step)}), 1)
    spool.append(b"not a frame of ours", 0)
    spool.append(encode_points(2_000, 100, {"loss": 100.0}), 1)
    spool.close(remove=False)
    done = ws.runs.send_left()
    assert (done.spools, done.stored, done.refused) == (1, 100, 1)
    assert values(ws, run.id, "loss") == [float(step) for step in range(101) if step != 37]
    (aside,) = ws.folder.spool.iterdir()
    lines = [json.loads(line) for line in aside.read_text().splitlines()]
    assert lines[0]["content"][0]["key"] == "a//b"
    assert "a//b" in lines[0]["reason"]
    assert "not understood" in lines[1]["reason"]
    assert ws.runs.unsent().refused_files == [str(aside)]


def test_F32_while_the_workspace_is_up_what_a_killed_process_left_is_sent(ws: Workspace) -> None:
    run = ws.runs.start(loop="x")
    spool = Spool(ws.folder.spool, run.id, is_owner=True, cap_bytes=1 << 20, files=LocalFiles())
    spool.append(encode_points(1_000, 0, {"loss": 1.0}), 1)
    spool.close(remove=False)
    stop = threading.Event()
    stop.set()
    send_what_is_left(ws, stop)  # the thread of the reconciler: one look
    assert ws.runs.get(run_id=run.id).metrics["loss"].value == 1.0
    assert ws.runs.get(run_id=run.id).status == "killed"


def test_a_run_that_was_deleted_meanwhile_blocks_no_other(ws: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    with ws.runs.start("x", **QUIET) as run, ws.runs.start("y", **QUIET) as other:
        run.log(loss=1.0)
        assert run.flush()
        ws.runs.delete(run_id=run.id)
        for step in range(5_000):
            run.log(loss=float(step))
            other.log(loss=float(step))
    assert run.counts == (5_001, 1, 5_000, 0, 0)
    assert values(ws, other.id, "loss") == list(range(5_000))
    told = capsys.readouterr().err
    assert "refused" in told
    assert len(told.splitlines()) == 1


FORKS = """
import os, sys, perennial
from perennial.api import connect
from perennial.store.workspace_folder import open_folder
from pathlib import Path
ws = perennial.open(sys.argv[1])
with ws.runs.start("fork", code=False, system=False) as run:
    for step in range(100):
        run.log(parent=float(step), step=step)
    children = []
    for worker in range(3):
        child = os.fork()
        if not child:
            for step in range(200):
                run.log({f"child{worker}": float(step)}, step=step)
            os._exit(0)  # as a worker of a data loader ends: nothing is tidied up
        children.append(child)
    for step in range(100, 200):
        run.log(parent=float(step), step=step)
    for child in children:
        os.waitpid(child, 0)
print(run.id)
ws.close()
"""


@pytest.mark.parametrize("is_remote", [False, True], ids=["own", "remote"])
def test_workers_that_are_forked_log_to_the_run(folder: WorkspaceFolder, is_remote: bool) -> None:
    def check() -> None:
        done = run_script(FORKS, folder.root)
        assert done.returncode == 0, done.stderr
        with perennial.open(folder.root) as ws:
            run_id = done.stdout.strip()
            assert ws.runs.get(run_id=run_id).status == "finished"
            assert values(ws, run_id, "parent") == list(range(200))
            for worker in range(3):
                assert values(ws, run_id, f"child{worker}") == list(range(200))
            assert not ws.runs.unsent().spools

    if is_remote:
        with served(folder):
            until(lambda: _answers(folder))
            check()
    else:
        check()


def _answers(folder: WorkspaceFolder) -> bool:
    with joined(folder, patience_s=0.0) as ws:
        try:
            ws.runs.list(limit=1)
        except Unavailable:
            return False
    return True


ATTACHES = """
import sys
from pathlib import Path
from perennial.api import connect
from perennial.store.workspace_folder import open_folder
with connect.join(open_folder(Path(sys.argv[1]))) as ws, ws.runs.attach(run_id=sys.argv[2]) as run:
    for step in range(500):
        run.log({"of" + sys.argv[3]: float(step)}, step=step)
"""


def test_F10_several_processes_log_to_one_run(folder: WorkspaceFolder) -> None:
    with served(folder), joined(folder) as ws:
        with ws.runs.start("x", **QUIET) as run:
            words = [sys.executable, "-c", ATTACHES, str(folder.root), run.id]
            programs = [subprocess.Popen([*words, str(number)]) for number in range(4)]
            assert [program.wait(120) for program in programs] == [0, 0, 0, 0]
            assert ws.runs.get(run_id=run.id).status == "running"
        for number in range(4):
            assert values(ws, run.id, f"of{number}") == list(range(500))


ENDS_WITHOUT_FINISH = """
import sys, perennial
ws = perennial.open(sys.argv[1])
run = ws.runs.start("x", code=False, system=False)
for step in range(700):
    run.log(loss=float(step))
print(run.id, flush=True)
if sys.argv[2] == "error":
    raise ValueError("no good")
"""


@pytest.mark.parametrize("how, status", [("return", "finished"), ("error", "failed")])
def test_a_program_that_just_ends_loses_nothing(folder: WorkspaceFolder, how: str, status: str) -> None:
    done = run_script(ENDS_WITHOUT_FINISH, folder.root, how)
    with perennial.open(folder.root) as ws:
        found = ws.runs.get(run_id=done.stdout.strip())
        assert found.status == status, done.stderr
        assert values(ws, found.id, "loss") == list(range(700))


def test_an_interrupted_program_is_killed_by_name(folder: WorkspaceFolder) -> None:
    code = (
        LOGS_AND_DIES.replace("run = ws", "run = stack.enter_context(ws")
        .replace("system=False)", "system=False))")
        .replace(
            "with perennial.open(sys.argv[1]) as ws:",
            ("import contextlib\nwith perennial.open(sys.argv[1]) as ws, contextlib.ExitStack() as stack:"),
        )
    )
    program = subprocess.Popen(
        [sys.executable, "-c", code, str(folder.root)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert program.stdout is not None
    run_id = program.stdout.readline().strip()
    program.stdout.readline()
    program.send_signal(signal.SIGINT)
    program.communicate(timeout=60)
    with perennial.open(folder.root) as ws:
        found = ws.runs.get(run_id=run_id)
        assert (found.status, found.error) == ("killed", "KeyboardInterrupt")


def test_closing_the_workspace_sends_what_is_under_way(folder: WorkspaceFolder, capsys: Any) -> None:
    ws = Owned(folder, Settings()).workspace
    run = ws.runs.start("x", **QUIET)
    for step in range(2_000):
        run.log(loss=float(step))
    ws.close()
    run.log(loss=2_000.0)
    run.finish()
    assert "1 points are not sent yet" in capsys.readouterr().err
    with perennial.open(folder.root) as ws:
        assert values(ws, run.id, "loss") == list(range(2_000))
        assert ws.runs.send_left().stored == 1
        assert values(ws, run.id, "loss") == list(range(2_001))
        assert ws.runs.get(run_id=run.id).status == "finished"


def test_a_run_that_is_refused_leaves_nothing(ws: Workspace) -> None:
    with ws.runs.start("x", **QUIET) as run:
        pass
    ws.runs.delete(run_id=run.id)
    threads = threading.active_count()
    with pytest.raises(Invalid):
        ws.runs.start("x", run_id=run.id, **QUIET)
    assert not list(ws.folder.spool.iterdir())
    assert threading.active_count() == threads


def test_a_run_that_goes_on_under_the_same_name_is_not_called_killed(folder: WorkspaceFolder) -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", LOGS_AND_DIES, str(folder.root)], stdout=subprocess.PIPE, text=True
    )
    assert program.stdout is not None
    run_id = program.stdout.readline().strip()
    program.stdout.readline()
    program.kill()
    program.stdout.read()
    program.stdout.close()
    program.wait()
    with perennial.open(folder.root) as ws:
        with ws.runs.start("killed", run_id=run_id, **QUIET) as run:
            run.log(again=1.0)
            until(lambda: len(ws.runs.unsent().spools) == 1)
            assert ws.runs.get(run_id=run_id).status == "running"
        assert ws.runs.get(run_id=run_id).status == "finished"
