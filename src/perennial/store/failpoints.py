"""Named places in the write paths where a test can kill the process or raise an error.

`failpoint("objects.pack.synced")` costs one dictionary test while nothing is armed. Armed by the environment
(`PERENNIAL_FAILPOINTS="objects.pack.synced=kill@3;records.committing=error"`: kill at the third time) or by `arm`.
Every name is in FAILPOINTS, so that a sweep can go through all of them and prove that each was reached.
"""

from __future__ import annotations

import errno
import os
import signal
from collections import Counter

__all__ = ["FAILPOINTS", "arm", "failpoint", "hits", "register"]

FAILPOINTS: dict[str, str] = {
    "files.atomic.written": "the temporary file holds all bytes, not yet forced to disk",
    "files.atomic.synced": "the temporary file is on disk, the name is still the old one",
    "files.atomic.renamed": "the name is new, the folder is not yet forced to disk",
    "objects.pack.appended": "the frame lies in the pack, not yet forced to disk",
    "objects.pack.synced": "the frame is on disk, the digest not yet given back",
    "objects.whole.written": "the temporary file holds the whole object",
    "objects.whole.renamed": "the whole object has its name",
    "gc.looked": "it is known what is named, nothing is marked",
    "gc.lists_marked": "dead lists of chunks are marked, nothing else",
    "gc.marked": "all that is dead in packs is marked",
    "gc.whole_removed": "all that is dead is gone, its space is not yet given back",
    "gc.copied": "what is alive in a pack is on disk in another one too",
    "gc.replaced": "the new pack has the name of the old one, which others still have open",
    "objects.delete.marked": "the frame is marked dead, its bytes are still there",
    "records.changed": "all changes of the group are made, nothing is committed",
    "records.committing": "the event chain is written, the commit comes next",
    "records.committed": "the group is committed, nobody has been told",
    "owner.locked": "the lock is held, owner.json is still the old one",
    "schema.backed_up": "the copy from before the upgrade is complete",
    "schema.applied": "every statement of the upgrade ran, nothing is committed",
    "backup.records_copied": "the backup holds the records, not all objects",
}

_armed: dict[str, tuple[str, int]] = {}
_hits: Counter[str] = Counter()


def register(name: str, says: str) -> str:
    """Add a failpoint of another room; returns the name."""
    FAILPOINTS[name] = says
    return name


def failpoint(name: str) -> None:
    """Do here what was armed for `name`; nothing otherwise."""
    if _armed:
        _reach(name)


def arm(text: str) -> None:
    """Arm "name=action[@n]" entries separated by semicolons; "" disarms all.

    Actions: `kill` (SIGKILL to this process), `error` (OSError EIO), `full` (OSError ENOSPC), `count` (nothing but
    counting). The name `*` stands for all. With "@n" the action comes the n-th time only.

    Raises:
        ValueError: An entry does not parse.
    """
    _armed.clear()
    _hits.clear()
    for entry in filter(None, (part.strip() for part in text.split(";"))):
        name, _, action = entry.partition("=")
        action, _, turn = action.partition("@")
        if action not in ("kill", "error", "full", "count"):
            raise ValueError(f"PERENNIAL_FAILPOINTS: {entry!r} is not name=kill|error|full|count[@n]")
        _armed[name] = (action, int(turn or 0))


def hits() -> dict[str, int]:
    """How often each failpoint was reached since the last `arm`."""
    return dict(_hits)


def _reach(name: str) -> None:
    if name not in FAILPOINTS:
        raise ValueError(f"failpoint {name!r} is not registered")
    _hits[name] += 1
    action, turn = _armed.get(name) or _armed.get("*", ("count", 0))
    if turn and _hits[name] != turn:
        return
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif action == "error":
        raise OSError(errno.EIO, f"failpoint {name}")
    elif action == "full":
        raise OSError(errno.ENOSPC, f"failpoint {name}")


arm(os.environ.get("PERENNIAL_FAILPOINTS", ""))
