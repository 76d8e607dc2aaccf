"""Errors as MLflow's clients expect them. A caller's mistake is never a 5xx: reads would be repeated for minutes."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from perennial.api.statuses import NotLoggedIn, NotSupported, retry_after_s, status_of
from perennial.errors import AlreadyExists, Conflict, Mistake, PerennialError, TooLarge

__all__ = ["refusal"]

_log = logging.getLogger("perennial.api.mlflow")


def refusal(error: PerennialError, request: Request) -> Response:
    """The answer for this error."""
    status, code = _status(error)
    request_id = request.state.request_id
    if status >= 500 and not isinstance(error, NotSupported):
        _log.error("request %s: %s", request_id, error)
    told = {"error_code": code, "message": _sentence(error), "request_id": request_id}
    wait = retry_after_s(status)
    headers: Mapping[str, str] = {"retry-after": str(wait)} if wait is not None else {}
    if isinstance(error, TooLarge) and status == 413:
        headers = {"connection": "close"}
    return Response(msgspec.json.encode(told), status, headers, "application/json")


def _status(error: PerennialError) -> tuple[int, str]:
    if isinstance(error, AlreadyExists):
        return 400, error.code
    if type(error) is Conflict:  # what cannot be done in this state
        return 400, "INVALID_STATE"
    if isinstance(error, TooLarge):  # a batch, a filter: MLflow's own limits; a body is told by its address
        return (413 if error.where.startswith("/") else 400), "INVALID_PARAMETER_VALUE"
    return status_of(error), error.code


def _sentence(error: PerennialError) -> str:
    """Clients show nothing but the message, so it says how to go on as well. Failures of ours keep their inside."""
    if isinstance(error, NotLoggedIn):
        return f"{error.what}: set MLFLOW_TRACKING_TOKEN to the token in owner.json of the workspace (perennial doctor)"
    if not isinstance(error, Mistake | NotSupported) or not error.remedy:
        return error.what
    return f"{error.what} ({error.remedy})"
