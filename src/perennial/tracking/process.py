"""Name a process so that another one can tell later whether it still lives, also when its number was given anew."""

from __future__ import annotations

import os
import socket

import psutil

__all__ = ["process_lives", "process_name"]


def process_name(pid: int | None = None) -> str:
    """Host, number and start of a process; of this one by default."""
    pid = os.getpid() if pid is None else pid
    return f"{socket.gethostname()}:{pid}:{psutil.Process(pid).create_time():.2f}"


def process_lives(name: str) -> bool:
    """Whether the process of this name runs. Of another machine nobody here can tell: it is taken to live."""
    host, pid, _ = name.rsplit(":", 2)
    if host != socket.gethostname():
        return True
    try:
        return process_name(int(pid)) == name and psutil.Process(int(pid)).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
