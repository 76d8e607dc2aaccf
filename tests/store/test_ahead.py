"""Work in threads: in order, bounded, and an error in it is the caller's."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from contextvars import ContextVar

import pytest

from perennial.store.ahead import Behind, ahead, each_ahead

where: ContextVar[str] = ContextVar("where", default="nowhere")


def counting(made: list[int], until: int, *, fail: bool = False) -> Iterator[int]:
    for number in range(until):
        made.append(number)
        yield number
    if fail:
        raise OSError("the disk is gone")


def test_items_come_in_order_and_never_far_ahead() -> None:
    made: list[int] = []
    for number in ahead(counting(made, 50), depth=3):
        assert number <= len(made) - 1 <= number + 6
    assert made == list(range(50))


def test_who_stops_early_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    with closing(ahead(counting([], 1000))) as items:
        assert next(items) == 0
    assert threading.active_count() == before


def test_an_error_comes_where_the_items_go_behind_those_made_before() -> None:
    seen: list[int] = []
    with pytest.raises(OSError, match="gone"):
        seen.extend(ahead(counting([], 5, fail=True)))
    assert seen == list(range(5))
    with pytest.raises(ZeroDivisionError):
        list(each_ahead(lambda number: 1 // (number - 7), range(20), 2))


def test_threads_work_where_their_caller_is() -> None:
    token = where.set("here")
    try:
        assert set(each_ahead(lambda _: where.get(), range(20), 3)) == {"here"}
        seen: list[str] = []
        behind = Behind()
        behind.do(lambda: seen.append(where.get()))
        behind.finish()
        behind.close()
        assert seen == ["here"]
    finally:
        where.reset(token)


def test_results_of_several_threads_come_in_order() -> None:
    assert list(each_ahead(lambda number: number * number, range(100), 4)) == [number * number for number in range(100)]


def test_what_is_done_behind_tells_its_error_later_and_does_no_more() -> None:
    done: list[int] = []

    def fail() -> None:
        raise OSError("the disk is gone")

    behind = Behind(depth=1)
    behind.do(fail)
    with pytest.raises(OSError, match="gone"):
        behind.finish()
    behind.do(lambda: done.append(1))
    behind.finish()
    behind.close()
    assert done == [1]
