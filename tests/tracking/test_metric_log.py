"""What many log at once is written together, and each is told alone."""

from __future__ import annotations

import threading

import pytest

from perennial.errors import Invalid, NotFound, ReadOnly
from perennial.store.records import Records
from perennial.tracking.metric_log import Entry, MetricLog
from perennial.tracking.points import Point
from perennial.tracking.runs import Runs


def test_F10_eight_writers_lose_nothing_and_repeat_nothing(both: Records) -> None:
    runs, log = Runs(both), MetricLog(both)
    ids = [runs.start(loop="many").id for _ in range(2)]
    each = 250

    def write(writer: int) -> None:
        done = threading.Semaphore(0)
        problems: list[BaseException | None] = []

        def tell(error: BaseException | None) -> None:
            problems.append(error)
            done.release()

        for i in range(each):
            entry = Entry(ids[writer % 2], {f"w{writer}": [Point(i, i, float(i))]})
            log.submit(entry, tell)
            if i % 7 == 0:
                log.submit(entry, tell)  # a client that sends it again
                done.acquire()
        for _ in range(each):
            done.acquire()
        assert problems == [None] * len(problems)

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for writer in range(8):
        page = runs.history(run_id=ids[writer % 2], key=f"w{writer}")
        assert page.step == list(range(each))
        assert runs.get(run_id=ids[writer % 2]).metrics[f"w{writer}"].value == each - 1


def test_one_who_writes_to_a_run_that_is_not_there_harms_no_other(both: Records) -> None:
    runs, log = Runs(both), MetricLog(both)
    good, gone = runs.start(loop="x").id, runs.start(loop="x").id
    runs.delete(run_id=gone)
    told: dict[str, BaseException | None] = {}
    finished = threading.Semaphore(0)

    def tell(name: str) -> object:
        def one(error: BaseException | None) -> None:
            told[name] = error
            finished.release()

        return one

    hold = threading.Event()
    both.submit(lambda tx: hold.wait(), lambda *_: None)  # so that all three wait together
    for name, run in (("good", good), ("gone", gone), ("none", "0" * 32), ("again", good)):
        log.submit(Entry(run, {"m": [Point(1, 1, 1.0)]}), tell(name))  # type: ignore[arg-type]
    hold.set()
    for _ in range(4):
        finished.acquire()
    assert (told["good"], told["again"]) == (None, None)
    assert isinstance(told["gone"], Invalid)
    assert isinstance(told["none"], NotFound)
    assert len(runs.history(run_id=good, key="m").at) == 1


def test_after_the_end_everybody_is_told_that_nothing_is_written(both: Records) -> None:
    log = MetricLog(both)
    both.close()
    told: list[BaseException | None] = []
    log.submit(Entry("0" * 32, {"m": [Point(1, 1, 1.0)]}), told.append)
    assert len(told) == 1
    assert isinstance(told[0], ReadOnly)


@pytest.mark.parametrize("way", ["write", "submit"])
def test_a_change_that_fails_tells_its_callers(both: Records, way: str) -> None:
    log, run = MetricLog(both), Runs(both).start(loop="x").id
    entry = Entry(run, {"m": [Point(1, 2**70, 1.0)]})  # what no column holds
    told: list[BaseException | None] = []
    if way == "write":
        with pytest.raises(Invalid):
            log.write(entry)
        return
    done = threading.Event()

    def tell(error: BaseException | None) -> None:
        told.append(error)
        done.set()

    log.submit(entry, tell)
    assert done.wait(10)
    assert isinstance(told[0], Invalid)


def test_what_is_counted_for_chunks_is_forgotten_before_it_grows_without_end(
    both: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("perennial.tracking.metric_log.MAX_COUNTS", 50)
    log, run = MetricLog(both), Runs(both).start(loop="x").id
    for number in range(120):
        log.write(Entry(run, {f"m{number}": [Point(1, 1, 1.0)]}))
        assert len(log._counts) <= 50
    assert len(Runs(both).get(run_id=run).metrics) == 120
