"""Where the files of a run lie by the word of a foreign store, and which files these are on this machine.

A store that somebody else made may name any folder. Only one that is called after the run (`.../RUN/artifacts`) is
read, and no link in it is followed, so that an import never takes along what is not the run's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import unquote, urlsplit

__all__ = ["Listed", "Place", "Where", "files_below"]


@dataclass(frozen=True)
class Place:
    """Where files lie: a `folder` here, an address elsewhere (`remote`), or nowhere that we can find (`missing`).

    `below` is the path under which the files of the folder are kept.
    """

    kind: Literal["folder", "remote", "missing"]
    folder: Path | None = None
    why: str = ""
    below: str = ""


class Listed(NamedTuple):
    """A file, its path from the folder on, or why it is none of those that are taken."""

    path: str
    file: Path
    refused: str = ""


class Where:
    """Finds the folders that a store names."""

    def __init__(self, beside: Path, served: Path | None) -> None:
        """
        Args:
            beside: The folder of the store: relative paths begin there.
            served: Where a server kept what it calls `mlflow-artifacts:/`, and where files were moved to.
        """
        self._beside = beside
        self._served = served

    def of(self, uri: str, owner: str, *, else_in: Path | None = None) -> Place:
        """Where the files of a run or model lie.

        Args:
            uri: As the store has it.
            owner: The id of the run or model.
            else_in: A folder that is its own wherever the store lies now.
        """
        try:
            address = urlsplit(uri)
        except ValueError as error:
            return Place("missing", why=f"{uri!r} is no address: {error}")
        tries: list[Path] = []
        if address.scheme == "mlflow-artifacts":
            parts = [part for part in unquote(address.path).split("/") if part]
            if self._served is None:
                return Place("missing", why="a server kept them: name its folder with --artifacts")
            tries = [self._served.joinpath(*parts)]
        elif address.scheme in ("", "file"):
            named = Path(unquote(address.path) if address.scheme else uri)
            tries = [self._beside / named]
            if self._served is not None:
                tries += [self._served.joinpath(*named.parts[-count:]) for count in (4, 3)]
        elif len(address.scheme) > 1:
            return Place("remote", why=uri)
        for folder in [*tries, *([else_in] if else_in else [])]:
            if folder.is_dir():
                real = Path(os.path.realpath(folder))
                if real.parts[-2:] != (owner, "artifacts"):
                    return Place("missing", why=f"{folder} is not a folder of {owner} alone")
                return Place("folder", folder=real)
        if any(folder.parent.parent.is_dir() for folder in tries) or else_in is not None:
            return Place("folder")  # its neighbours are here: nothing was logged
        return Place("missing", why=f"{uri} is not on this machine: name where it was moved to with --artifacts")

    def is_remote(self, uri: str) -> bool:
        """Whether this is an address that a client reaches by itself."""
        scheme = uri.partition(":")[0] if "://" in uri else ""
        return len(scheme) > 1 and scheme not in ("file", "mlflow-artifacts")


def files_below(folder: Path) -> Iterator[Listed]:
    """The files below a folder, by name."""
    waiting = [""]
    while waiting:
        above = waiting.pop()
        try:
            entries = sorted(os.scandir(folder / above), key=lambda entry: entry.name)
        except OSError as error:
            yield Listed(above or ".", folder / above, error.strerror or str(error))
            continue
        for entry in entries:
            path = f"{above}{entry.name}"
            if entry.is_symlink():
                yield Listed(path, Path(entry.path), "a link")
            elif entry.is_dir():
                waiting.append(f"{path}/")
            elif entry.is_file():
                yield Listed(path, Path(entry.path))
            else:
                yield Listed(path, Path(entry.path), "not a file")
