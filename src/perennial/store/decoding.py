"""Types that msgspec decodes and converts to, made known to it by one thread at a time.

msgspec finds out what a type is made of when it first meets it, and up to 0.22 the process crashes when two threads
do so at once. So whoever names a type of ours to it says `ready(Type)`.
"""

from __future__ import annotations

import threading
from collections.abc import MutableSet
from typing import TypeVar
from weakref import WeakSet

import msgspec

__all__ = ["ready"]

Kind = TypeVar("Kind")

_turn = threading.RLock()
_classes: WeakSet[object] = WeakSet()  # those made for an endpoint go with it
_others: set[object] = set()


def ready(kind: Kind) -> Kind:
    """This type, which any thread may use from now on."""
    known: MutableSet[object] = _classes if isinstance(kind, type) else _others
    if kind not in known:
        with _turn:
            msgspec.msgpack.Decoder(kind)
            known.add(kind)
    return kind
