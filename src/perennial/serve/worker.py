"""A process that holds one model version and answers rows: the only place of the service where user code runs.

`python -m perennial.serve.worker DUTY CHANNEL LISTENER`: a `Duty` in JSON, the descriptor of a socket to the parent,
and of a listening socket where the fronts ask. It binds itself to the rules of the duty (`models.sandbox`) before it
looks at the package. The parent is told a `Hello`; the fronts send rows, get an empty `Told` when their turn comes and
then one with the answers, one message after the other, whoever asked first. Standard input is a pipe that is never
written: when it ends the service is gone, and so is the worker, even in the middle of a model that hangs. What the
model prints goes to the log.
"""

from __future__ import annotations

import contextlib
import gc
import os
import selectors
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec

from perennial.models.accelerator import AcceleratorFailed, failure_of_accelerator
from perennial.models.sandbox import confine
from perennial.serve.orders import LENGTH, Duty, Hello, Told, framed
from perennial.store.decoding import ready
from perennial.types import Digest

if TYPE_CHECKING:
    from perennial.models.package import Predictor

__all__ = ["main"]

Answer = Callable[[list[list[Any]]], Told]


def main(arguments: list[str]) -> None:
    told, descriptor, listening = arguments
    duty = msgspec.json.decode(told, type=ready(Duty))
    confine(duty.rules)
    channel = socket.socket(fileno=int(descriptor))
    listener = socket.socket(fileno=int(listening))
    threading.Thread(target=_die_with_parent, daemon=True).start()
    os.dup2(2, 1)
    answer: Answer | None = None
    try:
        predictor, wrong = _warm(duty)
        answer = _explainer(predictor) if duty.explains else _predictor(predictor)
        gc.collect()
        gc.freeze()  # libraries and model stay: looking through them for circles takes longer than most answers
    except Exception as error:  # noqa: BLE001 - the boundary of user code: what it raises is why not to serve it
        traceback.print_exc()
        _end_if_lost(channel, error)
        wrong = [f"it does not load: {_brief(error)}"]
    channel.sendall(framed(Hello(problem="; ".join(wrong[:3]) or None)))
    if answer is None or wrong:
        return
    try:
        _serve(listener, answer)
    except AcceleratorFailed as error:
        traceback.print_exc()
        _end_if_lost(channel, error)


def _end_if_lost(channel: socket.socket, error: Exception) -> None:
    """End this process where its accelerator gave out: whoever waits is answered by the next one."""
    lost = failure_of_accelerator(error)
    if lost is not None:
        channel.sendall(framed(Hello(lost=lost)))
        os._exit(os.EX_TEMPFAIL)  # at once: to put things away in order needs the device


def _serve(listener: socket.socket, answer: Answer) -> None:
    """Answer all who ask, one message at a time.

    Raises:
        AcceleratorFailed: What the model computes on is lost.
    """
    decoder = msgspec.msgpack.Decoder(list[list[Any]])
    waiting = selectors.DefaultSelector()
    waiting.register(listener, selectors.EVENT_READ)
    here = begun = framed(Told([], pid=os.getpid()))
    while True:
        for key, _ in waiting.select():
            if key.fileobj is listener:
                asker, _ = listener.accept()
                waiting.register(asker, selectors.EVENT_READ, asker.makefile("rb"))
                with contextlib.suppress(OSError):  # it is gone already, which reading tells
                    asker.sendall(here)
                continue
            try:
                head = key.data.read(LENGTH.size)
                if len(head) == LENGTH.size:
                    rows = decoder.decode(key.data.read(LENGTH.unpack(head)[0]))
                    # Who is answered now must know, should these rows be the end of this process.
                    key.fileobj.sendall(begun)  # pyright: ignore[reportAttributeAccessIssue]
                    key.fileobj.sendall(framed(answer(rows)))  # pyright: ignore[reportAttributeAccessIssue]
                    continue
            except OSError:  # that front is gone; another takes its place
                traceback.print_exc()
            waiting.unregister(key.fileobj)
            key.data.close()
            key.fileobj.close()  # pyright: ignore[reportAttributeAccessIssue]


def _warm(duty: Duty) -> tuple[Predictor, list[str]]:
    from perennial.models.package import Predictor, checkout
    from perennial.store.objects import ObjectStore

    folder = checkout(Digest(duty.package), ObjectStore(Path(duty.objects)), Path(duty.cache))
    predictor = Predictor.load(folder, trusted=duty.trusted, native=duty.explains)
    return predictor, [] if duty.explains else predictor.check_golden()


def _predictor(predictor: Predictor) -> Answer:
    names = [field.name for field in predictor.signature.inputs]
    labels = predictor.signature.classes or predictor.scorer.classes

    def answer(rows: list[list[Any]]) -> Told:
        try:
            records = [dict(zip(names, row, strict=True)) for row in rows]
            found = predictor.predict(predictor.frame(records))
        except AcceleratorFailed:
            raise
        except Exception as error:  # noqa: BLE001 - the boundary of a request: its rows carry what happened
            traceback.print_exc()
            return _failed(len(rows), error)
        tables: list[dict[str, float] | None] = [cast("Any", row.get("probabilities")) for row in found]
        has_tables = any(table is not None for table in tables)
        errors: list[str | None] = [cast("Any", row.get("error")) for row in found]
        classes = list(labels) if labels else None
        if classes is None and has_tables:
            classes = list(next(table for table in tables if table))
        return Told(
            [row["prediction"] for row in found],
            [None if table is None else list(table.values()) for table in tables] if has_tables else None,
            errors if any(errors) else None,
            classes,
        )

    return answer


def _explainer(predictor: Predictor) -> Answer:
    from perennial.evaluate.explain import RowExplainer

    names = [field.name for field in predictor.signature.inputs]
    explainer = RowExplainer(predictor)

    def answer(rows: list[list[Any]]) -> Told:
        try:
            records = [dict(zip(names, row, strict=True)) for row in rows]
            found = explainer.explain(predictor.frame(records))
        except AcceleratorFailed:
            raise
        except Exception as error:  # noqa: BLE001 - as above
            traceback.print_exc()
            return _failed(len(rows), error)
        return Told([msgspec.to_builtins(one) for one in found])

    return answer


def _failed(rows: int, error: Exception) -> Told:
    says: list[str | None] = [_brief(error)] * rows
    return Told([None] * rows, None, says)


def _brief(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:500]


def _die_with_parent() -> None:
    while os.read(0, 1):
        pass
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
