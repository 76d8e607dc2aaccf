"""Where datasets are pushed to and pulled from: a name for each address. Credentials are never part of it."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from perennial.data.records import remotes
from perennial.errors import Invalid, NotFound
from perennial.store.actor import current_actor
from perennial.store.records import Records, Transaction

__all__ = ["Remote", "Remotes", "address_of", "check_url"]

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,62}")
_SCHEMES = ("file", "s3", "gs", "az")


class Remote(Struct, frozen=True, kw_only=True):
    """A named place: file:///path, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix."""

    name: str
    url: str
    at: int
    by: str


class Remotes:
    """The remotes of a workspace. Safe for concurrent use."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def set(self, *, name: str, url: str) -> Remote:
        """Name an address, instead of the one that had the name before.

        Raises:
            Invalid: Not a name, not such an address, or one with a password in it.
        """
        if not _NAME.fullmatch(name):
            raise Invalid(f"{name[:80]!r} is not a name for a remote", remedy="use letters, digits, _ and -")
        check_url(url)

        def change(tx: Transaction) -> Remote:
            made = Remote(name=name, url=url, at=tx.now, by=current_actor().person)
            tx.connection.execute(sa.delete(remotes).where(remotes.c.name == name))
            tx.connection.execute(sa.insert(remotes).values(**msgspec.structs.asdict(made)))
            tx.event("remote.set", f"remote/{name}", {"url": url})
            return made

        return self._records.write(change)

    def remove(self, *, name: str) -> None:
        """Forget a remote; what lies there stays.

        Raises:
            NotFound: There is none of this name.
        """

        def change(tx: Transaction) -> None:
            if not tx.connection.execute(sa.delete(remotes).where(remotes.c.name == name)).rowcount:
                raise NotFound(f"there is no remote {name!r}", remedy="see them with: perennial data remote list")
            tx.event("remote.removed", f"remote/{name}", {})

        self._records.write(change)

    def list(self) -> list[Remote]:
        """All remotes, by name."""
        query = sa.select(remotes).order_by(remotes.c.name)
        return self._records.read(
            lambda connection: [
                Remote(**{str(key): value for key, value in row.items()})
                for row in connection.execute(query).mappings()
            ]
        )


def address_of(remotes: Remotes, named: str | None = None) -> str:
    """The address of a remote by its name or address; without one, the only remote or the one called origin.

    Raises:
        NotFound: There is no such remote, or none to choose without a name.
        Invalid: Not an address.
    """
    if named is not None and "://" in named:
        check_url(named)
        return named
    known = {remote.name: remote.url for remote in remotes.list()}
    name = named or ("origin" if "origin" in known or len(known) != 1 else next(iter(known)))
    if name in known:
        return known[name]
    if named is None and known:
        which = f"there are {len(known)} remotes, and none is called origin"
        raise NotFound(which, remedy=f"name one with --remote: {', '.join(known)}")
    which = f"there is no remote {named!r}" if named else "there is no remote"
    raise NotFound(which, remedy="name one: perennial data remote set origin s3://bucket/prefix")


def check_url(url: str) -> None:
    """Whether this is an address of a remote, without credentials.

    Raises:
        Invalid: It is not.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise Invalid(
            "an address holds no credentials and no options",
            remedy="leave them to the environment: AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL and so on",
        )
    has_place = parts.path.strip("/") and not parts.netloc if parts.scheme == "file" else parts.netloc
    if parts.scheme not in _SCHEMES or not has_place:
        raise Invalid(
            f"{url[:200]!r} is not the address of a remote",
            remedy="write file:///folder, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix",
        )
