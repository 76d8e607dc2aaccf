"""Perform one operation: check who asks, read what they ask, do it once, encode the answer.

Every way in passes here: a route, a command that owns the workspace for its own duration, a form on a page.
"""

from __future__ import annotations

import msgspec

from perennial.api.auth import Caller
from perennial.api.operations import OPERATIONS, Operation, Permission
from perennial.api.signatures import decode_request
from perennial.api.statuses import NotLoggedIn
from perennial.errors import Forbidden, NotFound, TooLarge
from perennial.store.actor import acting
from perennial.store.leases import Leases
from perennial.store.records import Records, Transaction
from perennial.workspace import Workspace

__all__ = ["Dispatcher", "check_permission"]


def check_permission(caller: Caller, permission: Permission, what: str) -> None:
    """Raises:
    NotLoggedIn: Nobody knows who the caller is, and this needs to be known.
    Forbidden: This caller may not do this.
    """
    if permission in caller.permissions:
        return
    if not caller.person:
        raise NotLoggedIn(
            f"{what} needs somebody who is known",
            remedy="use the command line as the owner of the workspace, or open the link of `perennial status --link`",
        )
    raise Forbidden(f"{caller.person} may not do this: {what} needs the permission {permission!r}")


class Dispatcher:
    """Performs operations on an open workspace. Safe for concurrent use."""

    def __init__(self, workspace: Workspace, records: Records) -> None:
        self.workspace = workspace
        self.records = records
        self._leases = Leases(records)

    def call(self, name: str, body: bytes, caller: Caller, key: str = "") -> bytes:
        """The answer of this operation as JSON; a write with a key that was seen before answers as it did then.

        Raises:
            NotFound: There is no such operation.
            Forbidden, NotLoggedIn: The caller may not do this.
            TooLarge, Invalid: The request is over its limit, or does not fit the operation.
            PerennialError: Whatever the operation itself raises.
        """
        operation = OPERATIONS.get(name)
        if operation is None:
            raise NotFound(f"there is no operation {name}", remedy="GET /openapi.json lists them")
        check_permission(caller, operation.permission, name)
        if len(body) > operation.max_bytes:
            raise TooLarge(f"the request of {name} has {len(body)} bytes, at most {operation.max_bytes} are read")
        arguments = decode_request(name, body)

        noun, _, verb = name.partition(".")

        def perform(tx: Transaction | None = None) -> bytes:
            if tx is not None and caller.lease is not None:
                self._leases.check(tx, *caller.lease)  # a leader that slept through the end of its lease writes no more
            with acting(caller.person, caller.origin):
                return msgspec.json.encode(getattr(self.workspace.service(noun), verb)(**arguments))

        if key and _is_kept(operation):
            return self.records.once(key, name, perform, request=body)
        return perform()


def _is_kept(operation: Operation) -> bool:
    return operation.permission != "read" and operation.keyed
