"""Runs that a program logs to, as they usually go."""

from __future__ import annotations

import math
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import perennial
from perennial.clock import SystemClock
from perennial.config import Settings
from perennial.errors import Invalid, NotFound
from perennial.store.workspace_folder import WorkspaceFolder, create_folder
from perennial.tracking.active import ActiveRun
from perennial.workspace import Owned, Workspace
from tests.store.new_records import with_records
from tests.tracking.active import QUIET, values


@pytest.fixture
def folder(tmp_path: Path) -> WorkspaceFolder:
    return with_records(create_folder(tmp_path / "ws", now=SystemClock().now()))


@pytest.fixture
def ws(folder: WorkspaceFolder) -> Iterator[Workspace]:
    with Owned(folder, Settings()).workspace as ws:
        yield ws


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
