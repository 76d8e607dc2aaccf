"""Types that msgspec decodes and converts to, made known to it by one thread at a time.

msgspec finds out what a type is made of when it first meets it, and up to 0.22 the process crashes when two threads
do so at once. So whoever names a type of ours to it says `ready(Type)`.
"""

from __future__ import annotations

import threading
from typing import TypeVar
from weakref import WeakSet

import msgspec

__all__ = ["ready"]

Kind = TypeVar("Kind")

_turn = threading.RLock()
_classes: WeakSet[type] = WeakSet()
_others: set[object] = set()


def ready(kind: Kind) -> Kind:
    """This type, which any thread may use from now on."""
    if isinstance(kind, type):
        if kind not in _classes:
            with _turn:
                msgspec.msgpack.Decoder(kind)
                _classes.add(kind)
    elif kind not in _others:
        with _turn:
            msgspec.msgpack.Decoder(kind)
            _others.add(kind)
    return kind
