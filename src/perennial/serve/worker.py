"""A process that holds one model version and answers rows: the only place of the service where user code runs.

`python -m perennial.serve.worker DUTY CHANNEL`: a `Duty` in JSON, and the descriptor of a socket to the service. It
binds itself to the rules of the duty (`models.sandbox`) before it looks at the package. Messages are `u32 length |
msgpack`: first the worker's `Hello`, then rows in and answers out, one message at a time. Standard input is a pipe that
is never written: when it ends the service is gone, and so is the worker, even in the middle of a model that hangs.
What the model prints goes to the log.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import threading
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from perennial.errors import Corrupt
from perennial.models.sandbox import Rules, confine
from perennial.serve.frames import Output, Row
from perennial.types import Digest

if TYPE_CHECKING:
    from perennial.models.package import Predictor

__all__ = ["LENGTH", "Duty", "Hello", "framed", "main"]

LENGTH = struct.Struct("<I")


class Duty(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker is for: the digest of a package, the folder to check it out into, the object store to take it
    from, whether code in it may run, and how the process is confined."""

    package: str
    cache: str
    objects: str
    trusted: bool = False
    rules: Rules = Rules()


class Hello(msgspec.Struct, frozen=True, kw_only=True):
    """The worker is warm, or says why it will never be."""

    problem: str | None = None


def framed(message: object) -> bytes:
    payload = msgspec.msgpack.encode(message)
    return LENGTH.pack(len(payload)) + payload


def main(arguments: list[str]) -> None:
    told, descriptor = arguments
    duty = msgspec.json.decode(told, type=Duty)
    confine(duty.rules)
    channel = socket.socket(fileno=int(descriptor))
    threading.Thread(target=_die_with_parent, daemon=True).start()
    os.dup2(2, 1)
    try:
        predictor, wrong = _warm(duty)
    except Exception as error:  # noqa: BLE001 - the boundary of user code: what it raises is why not to serve it
        traceback.print_exc()
        wrong = [f"it does not load: {_brief(error)}"]
        predictor = None
    channel.sendall(framed(Hello(problem="; ".join(wrong[:3]) or None)))
    if predictor is None or wrong:
        return
    decoder = msgspec.msgpack.Decoder(list[dict[str, Any]])
    with channel.makefile("rb") as reader:
        while len(head := reader.read(LENGTH.size)) == LENGTH.size:
            rows = decoder.decode(reader.read(LENGTH.unpack(head)[0]))
            channel.sendall(framed(_answer(predictor, rows)))


def _warm(duty: Duty) -> tuple[Predictor, list[str]]:
    from perennial.models.package import MANIFEST, Predictor, checkout
    from perennial.store.objects import ObjectStore, digest_of

    folder = checkout(Digest(duty.package), ObjectStore(Path(duty.objects)), Path(duty.cache))
    if digest_of((folder / MANIFEST).read_bytes()) != duty.package:
        raise Corrupt("the manifest of a model package differs from its digest", where=str(folder))
    predictor = Predictor.load(folder, trusted=duty.trusted)
    return predictor, predictor.check_golden()


def _answer(predictor: Predictor, rows: list[Row]) -> list[Output]:
    try:
        return predictor.predict(predictor.frame(rows))
    except Exception as error:  # noqa: BLE001 - the boundary of a request: its rows carry what happened
        traceback.print_exc()
        return [{"prediction": None, "error": _brief(error)}] * len(rows)


def _brief(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:500]


def _die_with_parent() -> None:
    while os.read(0, 1):
        pass
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
