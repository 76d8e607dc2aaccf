"""The one table of HTTP status codes, and the form in which an error travels and becomes itself again.

Outside goes what the caller needs: code, sentence, request id. Where it happened and how to go on may name folders
and people, so they go only to somebody who has shown who they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from perennial import errors

__all__ = ["NotLoggedIn", "NotSupported", "document", "rebuilt", "retry_after_s", "status_of"]


class NotLoggedIn(errors.Forbidden):
    """The caller has not shown who they are, or what they showed is not valid."""

    code = "UNAUTHENTICATED"


class NotSupported(errors.Failure):
    """A protocol has this, and it lies outside of what Perennial is for."""

    code = "NOT_IMPLEMENTED"


STATUS: Mapping[type[errors.PerennialError], int] = {  # the nearest class in the tree decides
    errors.Mistake: 400,
    NotLoggedIn: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.TooLarge: 413,
    errors.DataError: 422,
    errors.LoopError: 422,
    errors.Refused: 422,
    errors.UserCodeError: 422,
    NotSupported: 501,
    errors.Unavailable: 503,
    errors.ReadOnly: 503,
    errors.StoreError: 507,
    errors.Corrupt: 500,  # stored bytes are damaged: alarmed like a bug of ours
    errors.PerennialError: 500,
}


def status_of(error: errors.PerennialError) -> int:
    """The status code for an error."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def retry_after_s(status: int) -> int | None:
    """How long a caller should wait before it asks again; None where asking again is no use."""
    return 1 if status in (429, 503) else None


def document(error: errors.PerennialError, request_id: str, *, trusted: bool) -> dict[str, Any]:
    """The JSON that answers for this error."""
    told = {"error_code": error.code, "message": error.what, "request_id": request_id, "error": type(error).__name__}
    return told | {"where": error.where, "remedy": error.remedy} if trusted else told


def rebuilt(told: Mapping[str, Any]) -> errors.PerennialError:
    """The error that `document` described, of the same class."""
    kind = errors.error_named(str(told.get("error", "")))
    what = str(told.get("message", "the server gave no reason"))
    where, remedy = str(told.get("where", "")), str(told.get("remedy", ""))
    if kind is errors.Failure and not where:
        where = f"request {told.get('request_id', '')}"
    return kind(what, where=where, remedy=remedy)
