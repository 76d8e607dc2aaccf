"""End with the parent: a process of the tree that loses its parent stops by itself, also when that was killed.

The parent holds the other end of our standard input. When it is gone, for whatever reason, the system closes that end
and we read the end of the file.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

__all__ = ["die_with_parent"]

GRACE_S = 10.0


def die_with_parent(stop: Callable[[], None]) -> None:
    """Call `stop` when standard input ends, and end the process hard if it is still there some seconds later."""

    def watch() -> None:
        while os.read(0, 4096):
            pass
        stop()
        threading.Event().wait(GRACE_S)
        os._exit(1)

    threading.Thread(target=watch, name="die-with-parent", daemon=True).start()
