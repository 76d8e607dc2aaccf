"""The folder of a workspace: what lies where, and workspace.json that says what it is.

Nothing else spells a path below `.perennial/`. What is inside the files belongs to the parts that write them.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from perennial.errors import ConfigError, Corrupt, NotFound
from perennial.ids import Ids, RandomIds
from perennial.store.decoding import ready
from perennial.store.files import Files, LocalFiles
from perennial.types import Micros

__all__ = ["FORMAT", "WorkspaceFolder", "create_folder", "open_folder"]

FORMAT = 1  # of the folder as a whole; a program that knows less refuses it


class _Description(msgspec.Struct, frozen=True, kw_only=True):
    format: int
    id: str
    simulated: bool
    created: int


class WorkspaceFolder(msgspec.Struct, frozen=True, kw_only=True):
    """Paths of one workspace. `simulated`: its time is the clock file's, not the machine's."""

    root: Path
    id: str
    simulated: bool
    created: Micros

    @property
    def records(self) -> Path:
        return self.root / "records.db"

    @property
    def records_url(self) -> str:
        return f"sqlite:///{self.records}"

    @property
    def objects(self) -> Path:
        return self.root / "objects"

    @property
    def clock(self) -> Path:
        return self.root / "clock"

    @property
    def serving(self) -> Path:
        return self.root / "serving"

    @property
    def spec(self) -> Path:
        return self.serving / "spec.json"

    @property
    def serving_status(self) -> Path:
        return self.serving / "status.json"

    @property
    def serving_cache(self) -> Path:
        return self.serving / "cache"

    @property
    def segments(self) -> Path:
        return self.serving / "segments"

    @property
    def bundles(self) -> Path:
        return self.root / "bundles"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def tmp(self) -> Path:
        return self.root / "tmp"

    @property
    def spool(self) -> Path:
        return self.root / "spool"


_FOLDERS = ("objects", "serving/cache", "serving/segments", "bundles", "logs", "tmp")


def create_folder(
    root: Path, *, now: Micros, simulated: bool = False, ids: Ids | None = None, files: Files | None = None
) -> WorkspaceFolder:
    """Make a workspace folder, or open the one that is there.

    Raises:
        ConfigError: The folder cannot be made, or holds a workspace of the other kind of time.
    """
    files = files or LocalFiles()
    root = root.absolute()
    if (root / "workspace.json").exists():
        found = open_folder(root)
        if found.simulated != simulated:
            kind = "simulated" if found.simulated else "real"
            raise ConfigError(f"this workspace has {kind} time", where=str(root), remedy="use another folder")
        return found
    description = _Description(format=FORMAT, id=(ids or RandomIds()).new(), simulated=simulated, created=now)
    try:
        for name in _FOLDERS:
            files.mkdirs(root / name)
        # Last, so that a folder with a description is a complete one.
        files.write_atomic(root / "workspace.json", msgspec.json.encode(description))
    except OSError as error:
        raise ConfigError(
            f"cannot make a workspace here: {error.strerror}",
            where=str(root),
            remedy="choose a folder that you may write, with PERENNIAL_HOME",
        ) from error
    return open_folder(root)


def open_folder(root: Path) -> WorkspaceFolder:
    """The workspace in this folder.

    Raises:
        NotFound: There is none.
        ConfigError: It was made by a newer program.
        Corrupt: Its description is damaged.
    """
    root = root.absolute()
    path = root / "workspace.json"
    try:
        told = msgspec.json.decode(path.read_bytes())
        if isinstance(told, dict) and isinstance(told.get("format"), int) and told["format"] > FORMAT:
            raise ConfigError(
                f"this workspace has format {told['format']}; this program knows up to {FORMAT}",
                where=str(path),
                remedy="install a newer perennial; nothing was touched",
            )
        description = msgspec.convert(told, ready(_Description))
    except (FileNotFoundError, NotADirectoryError):
        remedy = "perennial run or perennial up makes one, in the folder of a project"
        raise NotFound("there is no workspace here", where=str(root), remedy=remedy) from None
    except msgspec.MsgspecError as error:
        says = f"the workspace's description is damaged: {error}"
        raise Corrupt(says, where=str(path), remedy="restore it from a backup") from error
    created = Micros(description.created)
    return WorkspaceFolder(root=root, id=description.id, simulated=description.simulated, created=created)
