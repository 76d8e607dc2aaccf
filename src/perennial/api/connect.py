"""Open a workspace: find its owner and talk to it, or own it for as long as it is open.

    with perennial.open() as ws:
        ws.models.list()

Which of the two it is makes no difference to the caller. A process of the tree of `perennial up` uses `join`, which
never owns: while the owner restarts, it waits.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

from perennial.api.client import Address, Connection, HeldLease, RemoteService, parse_address
from perennial.config import Settings, read_settings
from perennial.errors import ConfigError, Conflict, NotFound, Unavailable
from perennial.store.owner import OwnerInfo, find_owner
from perennial.store.workspace_folder import WorkspaceFolder, create_folder, open_folder
from perennial.supervise.upfile import tree_is_up
from perennial.workspace import Owned, Workspace, open_workspace_clock

if TYPE_CHECKING:
    from perennial.api.auth import Caller

__all__ = ["Calls", "calls", "find_folder", "find_root", "join", "new_link", "open"]

PATIENCE_S = 30.0  # how long a restarting owner is waited for


class Calls(Protocol):
    """Operations by name, with plain JSON values; what a command needs, at the price of no heavy import."""

    def call(self, operation: str, **arguments: object) -> Any: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *error: object) -> None: ...


def open(home: str | Path | None = None, *, origin: str = "library") -> Workspace:  # noqa: A001  public: perennial.open
    """Open the workspace in this folder, or of this project; it is made when there is none.

    Args:
        home: Folder of the workspace, or the address of its owner. Default: PERENNIAL_HOME, else the setting `home`,
            else `.perennial` in the current folder.
        origin: The way in that events are stamped with.

    Raises:
        Conflict: Another process owns it and does not listen, for longer than is worth waiting.
        ConfigError: The folder or address cannot be used.
    """
    folder, settings = find_folder(home, make=True)
    owned = _owned_or_none(folder, settings)
    return owned.workspace if owned else join(folder, settings=settings, origin=origin)


def join(
    folder: WorkspaceFolder,
    *,
    settings: Settings | None = None,
    origin: str = "library",
    patience_s: float = PATIENCE_S,
    lease: HeldLease | None = None,
) -> Workspace:
    """The workspace as its owner serves it; never owns it. While there is no owner, each call waits that long."""
    from perennial.store.objects import ObjectStore

    connection = _connection(folder, origin, patience_s, lease)
    return Workspace(
        folder=folder,
        settings=settings or read_settings(folder.root.parent, os.environ),
        clock=open_workspace_clock(folder),
        objects=ObjectStore(folder.objects),
        service=lambda noun: RemoteService(noun, connection),
        close=connection.close,
    )


def calls(home: str | Path | None = None, *, origin: str = "cli") -> Calls:
    """Like `open`, for calls by name; never makes a workspace.

    Raises:
        NotFound: There is no workspace.
    """
    text = _home(home, _settings())
    if _is_address(text):
        return Connection(lambda: parse_address(text), origin=origin, patience_s=PATIENCE_S)
    folder, settings = find_folder(home)
    owned = _owned_or_none(folder, settings)
    return _OwnCalls(owned, origin) if owned else _connection(folder, origin, PATIENCE_S)


def new_link(home: str | Path | None = None) -> str:
    """A new link that lets one person log in to the pages, once.

    Raises:
        Unavailable: The workspace is not up, so there are no pages.
    """
    folder, _ = find_folder(home)
    if not tree_is_up(folder.root):
        raise Unavailable("there are no pages while the workspace is not up", remedy="start it with: perennial up")
    connection = _connection(folder, "cli", PATIENCE_S)
    path = json.loads(connection.post("/api/link", b"{}"))["path"]
    owner = find_owner(folder.root)
    connection.close()
    return f"{owner.address if owner else ''}{path}"


def find_folder(home: str | Path | None = None, *, make: bool = False) -> tuple[WorkspaceFolder, Settings]:
    """The folder of the workspace and the settings that hold for it.

    Raises:
        NotFound: There is none, and none is to be made.
        Unavailable: The owner at the given address works on another machine.
    """
    settings = _settings()
    text = _home(home, settings)
    if _is_address(text):
        return _folder_behind(text), settings
    root = find_root(home)
    if make and not (root / "workspace.json").exists():
        from perennial.clock import SystemClock

        return create_folder(root, now=SystemClock().now()), settings
    return open_folder(root), settings


def find_root(home: str | Path | None = None) -> Path:
    """Where the workspace is, or would be.

    Raises:
        ConfigError: An address was given, and this needs a folder.
    """
    text = _home(home, _settings())
    if _is_address(text):
        raise ConfigError(f"{text} is an address; this needs a folder", remedy="name the folder with --home")
    return Path(text)


class _OwnCalls:
    """`Calls` in the process that owns the workspace, through the same dispatcher as over HTTP."""

    def __init__(self, owned: Owned, origin: str) -> None:
        from perennial.api.auth import OWNER, Caller
        from perennial.api.dispatch import Dispatcher
        from perennial.store.actor import system_user

        self._dispatcher = Dispatcher(owned.workspace, owned.records)
        self._caller: Caller = Caller(system_user(), origin, OWNER)
        self._workspace = owned.workspace

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._workspace.close()

    def call(self, operation: str, **arguments: object) -> Any:
        import msgspec

        return msgspec.json.decode(self._dispatcher.call(operation, msgspec.json.encode(arguments), self._caller))


def _owned_or_none(folder: WorkspaceFolder, settings: Settings) -> Owned | None:
    """Own the workspace, unless somebody does who can be talked to."""
    ends = time.monotonic() + PATIENCE_S
    while True:
        if tree_is_up(folder.root):  # its owner may be between two lives; it must not find the place taken
            return None
        try:
            owner = find_owner(folder.root)
            if owner is not None and owner.address:
                return None
            if owner is None:
                return Owned(folder, settings)
            problem: Exception = _silent(owner, folder)
        except (Conflict, Unavailable) as error:  # somebody was quicker; ask them
            problem = error
        if time.monotonic() > ends:
            raise problem
        time.sleep(0.05)


def _silent(owner: OwnerInfo, folder: WorkspaceFolder) -> Conflict:
    return Conflict(
        f"process {owner.pid} on {owner.host} has this workspace open and does not listen",
        where=str(folder.root),
        remedy="close it there (ws.close(), or end the notebook), or use `perennial up`, which serves many at once",
    )


def _connection(folder: WorkspaceFolder, origin: str, patience_s: float, lease: HeldLease | None = None) -> Connection:
    def find() -> Address:
        owner = find_owner(folder.root)
        if owner is None or not owner.address:
            raise Unavailable("nobody owns the workspace just now", where=str(folder.root))
        return parse_address(owner.address)._replace(token=owner.token)

    return Connection(find, origin=origin, patience_s=patience_s, lease=lease)


def _folder_behind(address: str) -> WorkspaceFolder:
    connection = Connection(lambda: parse_address(address), origin="library", patience_s=PATIENCE_S)
    told: Mapping[str, str] = connection.call("system.info")
    connection.close()
    try:
        folder = open_folder(Path(told["folder"]))
    except NotFound:
        folder = None
    if folder is None or folder.id != told["id"]:
        raise Unavailable(
            "the workspace at this address is on another machine; this needs its folder",
            where=address,
            remedy="run it on that machine",
        )
    return folder


def _settings() -> Settings:
    return read_settings(Path.cwd(), os.environ)


def _home(home: str | Path | None, settings: Settings) -> str:
    return str(home or settings.home or Path.cwd() / ".perennial")


def _is_address(text: str) -> bool:
    return "://" in text
