"""Runs that a program logs to: nothing is lost, nothing counts twice, and training never fails because of tracking."""

from __future__ import annotations

import json
import math
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import perennial
from perennial.api import connect
from perennial.api.reconciler import send_what_is_left
from perennial.cli.main import main
from perennial.clock import SystemClock
from perennial.config import Settings
from perennial.errors import Invalid, NotFound, Unavailable
from perennial.store.files import LocalFiles
from perennial.store.workspace_folder import WorkspaceFolder, create_folder
from perennial.tracking.active import ActiveRun
from perennial.tracking.frames import encode_points
from perennial.tracking.spool import Spool
from perennial.workspace import Owned, Workspace

QUIET: dict[str, Any] = {"code": False, "system": False}


@pytest.fixture
def folder(tmp_path: Path) -> WorkspaceFolder:
    return create_folder(tmp_path / "ws", now=SystemClock().now())


@pytest.fixture
def ws(folder: WorkspaceFolder) -> Iterator[Workspace]:
    with Owned(folder, Settings()).workspace as ws:
        yield ws


@contextmanager
def served(folder: WorkspaceFolder) -> Iterator[subprocess.Popen[bytes]]:
    """An owner in a process of its own; killed at the end, as owners are."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(100)
        words = ["--workspace", str(folder.root), "--descriptor", str(listening.fileno()), "--die-with-parent"]
        owner = subprocess.Popen(
            [sys.executable, "-m", "perennial.api.server", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[listening.fileno()],
        )
    try:
        yield owner
    finally:
        owner.kill()
        owner.wait()
        assert owner.stdin is not None
        owner.stdin.close()


def joined(folder: WorkspaceFolder, patience_s: float = 120.0, settings: Settings | None = None) -> Workspace:
    return connect.join(folder, patience_s=patience_s, settings=settings or Settings())


def until(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "this did not come about"
        time.sleep(0.01)


def values(ws: Workspace, run_id: str, key: str) -> list[float]:
    """All values of a metric, by step."""
    found: list[tuple[int, float]] = []
    token = ""
    while True:
        page = ws.runs.history(run_id=run_id, key=key, limit=50_000, page_token=token)
        found += zip(page.step, map(float, page.value), strict=True)
        token = page.next_page_token or ""
        if not token:
            return [value for _, value in sorted(found)]


def run_script(code: str, *words: object, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, timeout=120, **more
    )


# the ordinary way


def test_a_run_holds_what_was_logged(ws: Workspace, tmp_path: Path) -> None:
    (tmp_path / "plot.png").write_bytes(b"\x89PNG" + bytes(100_000))
    with ws.runs.start("salary", params={"depth": 3, "net": {"lr": 0.1}}, tags={"team": "a"}, seed=7, **QUIET) as run:
        assert perennial.current_run() is run
        assert (run.loop, run.status, run.seed) == ("salary", "running", 7)
        for step in range(100):
            run.log(loss=1 / (step + 1), acc=step, step=step)
        run.log({"val/loss": 0.5}, step=3)
        run.log_params(epochs=5, note="a text")
        run.set_tags({"stage": "try"})
        run.log_file(tmp_path / "plot.png")
        run.log_text("hallo", "notes/a.txt")
        run.log_table(pl.DataFrame({"a": [1, 2]}), "tables/a.csv")
    found = ws.runs.get(run_id=run.id)
    assert (found.status, found.error, found.loop, found.seed) == ("finished", None, "salary", 7)
    assert found.params == {"depth": "3", "net.lr": "0.1", "epochs": "5", "note": "a text"}
    assert found.tags.items() >= {"team": "a", "stage": "try"}.items()
    assert values(ws, run.id, "loss") == [1 / (step + 1) for step in range(100)]
    assert values(ws, run.id, "acc") == list(range(100))
    assert found.metrics["val/loss"].step == 3
    files = {file.path: ws.objects.get(file.digest) for file in found.artifacts}  # type: ignore[arg-type]
    assert files["notes/a.txt"] == b"hallo"
    assert files["tables/a.csv"] == b"a\n1\n2\n"
    assert files["plot.png"] == (tmp_path / "plot.png").read_bytes()
    assert run.counts == (201, 201, 0, 0, 0)
    assert not list(ws.folder.spool.iterdir())
    with pytest.raises(NotFound, match="no run goes on here"):
        perennial.current_run()


def test_the_services_own_start_gives_a_run_as_it_stands_and_opens_nothing(ws: Workspace) -> None:
    before = threading.active_count()
    run = ws.runs.start(loop="salary", params={"a": "1"})
    assert run == ws.runs.get(run_id=run.id)
    attached = ws.runs.attach(run_id=run.id)
    assert threading.active_count() == before
    assert not ws.folder.spool.exists()
    with attached:
        attached.log(loss=1.0)
    assert ws.runs.get(run_id=run.id).metrics["loss"].value == 1.0
    assert ws.runs.get(run_id=run.id).status == "running"  # its owner ends it


def test_code_command_and_machine_are_recorded(ws: Workspace) -> None:
    with ws.runs.start("salary", system=False) as run:
        run.log(loss=1.0)
    found = ws.runs.get(run_id=run.id)
    assert len(found.git_commit) == 40  # these tests run in a repository
    assert found.environment is not None
    assert b"polars==" in ws.objects.get(found.environment)  # type: ignore[arg-type]
    assert found.tags["host"] == socket.gethostname()
    assert "command" in found.tags
    assert found.status == "finished"


@pytest.mark.parametrize(
    "value, kept",
    [
        (1, 1.0),
        (True, 1.0),
        (np.float32(0.5), 0.5),
        (np.int64(3), 3.0),
        (np.array(2.5), 2.5),
        (np.array([2.5]), 2.5),
        (math.inf, math.inf),
        (-math.inf, -math.inf),
        (5e-324, 5e-324),
    ],
    ids=repr,
)
def test_F33_numbers_are_kept_as_they_are(ws: Workspace, value: Any, kept: float) -> None:
    with ws.runs.start("x", **QUIET) as run:
        run.log(a=value)
    assert values(ws, run.id, "a") == [kept]


def test_F33_nan_is_kept(ws: Workspace) -> None:
    with ws.runs.start("x", **QUIET) as run:
        run.log(a=math.nan)
    assert ws.runs.history(run_id=run.id, key="a").value == ["NaN"]


@pytest.mark.parametrize(
    "value", ["0.5", None, [1.0], np.array([1.0, 2.0]), 1j, 2**1024, b"1"], ids=lambda v: str(v)[:9]
)
def test_what_is_no_number_is_refused_by_name_at_once(ws: Workspace, value: Any) -> None:
    with ws.runs.start("x", **QUIET) as run:
        with pytest.raises(Invalid, match="'acc'"):
            run.log(loss=0.5, acc=value)
        assert run.counts.received == 0


@pytest.mark.parametrize("key", ["", "a//b", "../a", "/a", "a\0", "\ud800", "x" * 251, "a=b", 7])
def test_a_bad_name_is_refused_at_once_and_named(ws: Workspace, key: Any) -> None:
    with ws.runs.start("x", **QUIET) as run:
        with pytest.raises(Invalid, match="metric"):
            run.log({"loss": 1.0, key: 1.0})
        with pytest.raises(Invalid, match="parameter"):
            run.log_params({key: 1} if isinstance(key, str) else {"a//b": 1})
        assert run.counts.received == 0


def test_without_a_step_it_is_the_number_of_calls_so_far(ws: Workspace) -> None:
    with ws.runs.start("x", **QUIET) as run:
        run.log(a=1.0)
        run.log(b=1.0)
        run.log(a=2.0, step=50)
        run.log(a=3.0, b=2.0)
    assert ws.runs.history(run_id=run.id, key="a").step == [0, 50, 3]
    assert ws.runs.history(run_id=run.id, key="b").step == [1, 3]


@pytest.mark.parametrize("step", [1.5, "1", 2**63, None], ids=str)
def test_a_step_is_a_whole_number_of_64_bits(ws: Workspace, step: Any) -> None:
    with ws.runs.start("x", **QUIET) as run:
        if step is None:
            run.log(a=1.0, step=np.int32(4))  # type: ignore[arg-type]
        else:
            with pytest.raises(Invalid, match="step"):
                run.log(a=1.0, step=step)


def test_a_parameter_is_written_once(ws: Workspace) -> None:
    with ws.runs.start("x", params={"a": 1}, **QUIET) as run:
        run.log_params(a=1)
        with pytest.raises(Invalid, match="'a'"):
            run.log_params(a=2, b=1)
    assert ws.runs.get(run_id=run.id).params == {"a": "1"}


def test_more_than_one_call_takes_is_sent_in_pieces(ws: Workspace) -> None:
    with ws.runs.start("x", params={f"p{i}": "v" * 5_000 for i in range(250)}, **QUIET) as run:
        run.log({f"m{i}": float(i) for i in range(2_500)})
        run.set_tags({f"t{i}": i for i in range(250)})
    found = ws.runs.get(run_id=run.id)
    assert (len(found.params), len(found.metrics)) == (250, 2_500)
    assert len([tag for tag in found.tags if tag.startswith("t")]) >= 250


@pytest.mark.parametrize(
    "error, status", [(ValueError("too deep"), "failed"), (KeyboardInterrupt(), "killed"), (SystemExit(3), "failed")]
)
def test_an_error_in_the_block_ends_the_run_with_its_text(ws: Workspace, error: BaseException, status: str) -> None:
    def train() -> None:
        with ws.runs.start("x", **QUIET) as run:
            seen.append(run)
            run.log(a=1.0)
            raise error

    seen: list[ActiveRun] = []
    with pytest.raises(type(error)):
        train()
    (run,) = seen
    found = ws.runs.get(run_id=run.id)
    assert found.status == status
    assert found.error is not None
    assert found.error.startswith(type(error).__name__)
    assert str(error) in found.error


def test_after_its_end_nothing_is_logged(ws: Workspace) -> None:
    with ws.runs.start("x", **QUIET) as run:
        pass
    with pytest.raises(Invalid, match="has ended"):
        run.log(a=1.0)


def test_the_current_run_is_the_innermost_and_a_thread_has_that_of_the_process(ws: Workspace) -> None:
    seen: list[ActiveRun | str] = []

    def look() -> None:
        try:
            seen.append(perennial.current_run())
        except NotFound as error:
            seen.append(str(error))

    with ws.runs.start("a", **QUIET) as outer:
        threads = [threading.Thread(target=look)]
        threads[0].start()
        threads[0].join()
        with ws.runs.start("b", **QUIET) as inner:
            assert perennial.current_run() is inner
            threads = [threading.Thread(target=look)]
            threads[0].start()
            threads[0].join()
        assert perennial.current_run() is outer
    assert seen[0] is outer
    assert "2 runs go on" in str(seen[1])


def test_many_threads_log_to_one_run(ws: Workspace) -> None:
    with ws.runs.start("x", **QUIET) as run:

        def work(thread: int) -> None:
            for step in range(500):
                run.log({f"a{thread}": float(step)}, step=step)

        threads = [threading.Thread(target=work, args=(thread,)) for thread in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert run.flush()
        assert run.counts.stored == 4_000
    for thread in range(8):
        assert values(ws, run.id, f"a{thread}") == list(range(500))


@pytest.mark.parametrize("path", ["plot.png", "plot.svg", "plot.html"])
def test_a_chart_is_logged_in_the_format_of_its_path(ws: Workspace, path: str) -> None:
    import altair as alt

    chart = alt.Chart(alt.Data(values=[{"x": 1, "y": 2}])).mark_point().encode(x="x:Q", y="y:Q")
    with ws.runs.start("x", **QUIET) as run:
        run.log_figure(chart, path)
    (file,) = ws.runs.get(run_id=run.id).artifacts
    begins = {"plot.png": b"\x89PNG", "plot.svg": b"<svg", "plot.html": b"<!DOCTYPE html>"}[path]
    assert ws.objects.get(file.digest).lstrip().startswith(begins)  # type: ignore[arg-type]


def test_a_picture_of_pillow_and_a_file_that_is_none_at_all(ws: Workspace) -> None:
    image = pytest.importorskip("PIL.Image")
    with ws.runs.start("x", **QUIET) as run:
        run.log_figure(image.new("RGB", (4, 4)), "a.png")
        with pytest.raises(Invalid, match="no picture"):
            run.log_figure(object())
        with pytest.raises(Invalid, match="Parquet"):
            run.log_table({"a": [1]}, "a.xlsx")
        with pytest.raises(Invalid, match="path"):
            run.log_text("x", "../a.txt")
        with pytest.raises(NotFound):
            run.log_file("no-such-file")
    assert [file.path for file in ws.runs.get(run_id=run.id).artifacts] == ["a.png"]


# what may go wrong

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
