"""Where in the user's code something was written, as `loop.py:12`."""

from __future__ import annotations

import os
import sys
from types import FrameType

__all__ = ["place", "relative", "user_frame"]


def user_frame() -> FrameType:
    """The innermost frame that is not Perennial's own: the line on which the user called us."""
    frame = sys._getframe(1)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  inspect.stack() reads files
    while frame.f_back is not None and _is_ours(frame):
        frame = frame.f_back
    return frame


def place() -> str:
    """The user's current line, as `file:line`."""
    frame = user_frame()
    return f"{relative(frame.f_code.co_filename)}:{frame.f_lineno}"


def relative(file: str) -> str:
    """The path as seen from the current folder, if it lies within it: the same on every machine."""
    path = os.path.relpath(file)
    return file if path.startswith("..") else path.replace(os.sep, "/")


def _is_ours(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0] == "perennial"
