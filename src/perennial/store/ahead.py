"""Do work in threads, a little ahead of who needs it: reading, hashing and writing overlap, memory stays bounded."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

__all__ = ["Behind", "ahead", "each_ahead"]

T = TypeVar("T")
U = TypeVar("U")


def ahead(items: Iterable[T], depth: int = 2) -> Generator[T]:
    """The same items, made in a thread of their own that is at most `depth` of them ahead."""
    made: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(depth)
    is_over = threading.Event()

    def make() -> None:
        try:
            for item in items:
                made.put((item, None))
                if is_over.is_set():
                    return
            made.put((None, None))
        except BaseException as error:  # noqa: BLE001  # the thread's boundary: it is raised where the items go
            made.put((None, error))

    thread = threading.Thread(target=copy_context().run, args=(make,), daemon=True)
    thread.start()
    try:
        while True:
            item, error = made.get()
            if error is not None:
                raise error
            if item is None:
                return
            yield item
    finally:
        is_over.set()
        while thread.is_alive():  # it may wait for a place
            try:
                made.get(timeout=0.01)
            except queue.Empty:
                continue


def each_ahead(work: Callable[[T], U], items: Iterable[T], threads: int) -> Generator[U]:
    """`work` of each item, in order, by several threads that are a few items ahead."""
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[U]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(copy_context().run, work, item))
                if len(waiting) > 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


class Behind:
    """Does calls in the background, one after the other, at most `depth` of them waiting."""

    def __init__(self, depth: int = 2) -> None:
        self._pool = ThreadPoolExecutor(1)
        self._waiting: deque[Future[None]] = deque()
        self._depth = depth

    def do(self, work: Callable[[], None]) -> None:
        """Have this done; raises what an earlier one raised."""
        self._waiting.append(self._pool.submit(copy_context().run, work))
        while len(self._waiting) > self._depth:
            self._waiting.popleft().result()

    def finish(self) -> None:
        """Return when all is done; raises what one of them raised."""
        while self._waiting:
            self._waiting.popleft().result()

    def close(self) -> None:
        """Do nothing more; return when nothing is being done."""
        self._pool.shutdown(cancel_futures=True)
