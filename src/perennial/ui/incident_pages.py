"""The pages of incidents: what is wrong and what the alarms were worth; one incident, to decide about."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from perennial.api.auth import Caller
from perennial.api.dispatch import Dispatcher
from perennial.api.server import Door
from perennial.errors import Invalid, NotFound
from perennial.ui.making import Asking, door, here, page

__all__ = ["doors"]

LIMIT = 2**31  # more than incidents are counted to
SHOWN = 200
DECISIONS = ("acknowledge", "explain", "close", "false_alarm")


def doors(dispatcher: Dispatcher) -> list[Door]:
    """The routes of these pages."""
    pages = _Pages(Asking(dispatcher))
    return [
        door("GET", "/incidents", "read", pages.incidents, "What is wrong, and what was."),
        door("GET", "/incidents/{number:int}", "read", pages.incident, "One incident: what was found, what happened."),
        door("POST", "/incidents/{number:int}", "decide", pages.decide, "Acknowledge, explain or close an incident."),
    ]


class _Pages:
    def __init__(self, ask: Asking) -> None:
        self._ask = ask

    def incidents(self, request: Request, caller: Caller, form: Mapping[str, str]) -> Response:
        is_all = request.query_params.get("all") == "1"
        return page(
            "incidents.html",
            caller,
            incidents=self._ask(caller, "incidents.list", unsettled=not is_all, limit=SHOWN),
            feedback=self._ask(caller, "incidents.feedback"),
            windows=self._ask(caller, "maintenance.list", active=True),
            lost=self._ask(caller, "notices.list", state="given up", unsettled=True),
            is_all=is_all,
        )

    def incident(self, request: Request, caller: Caller, form: Mapping[str, str]) -> Response:
        story = self._ask(caller, "incidents.get", number=_number(request))
        feedback = self._ask(caller, "incidents.feedback", endpoint=story["incident"]["endpoint"])
        return page("incident.html", caller, feedback=feedback, here=here(request), **story)

    def decide(self, request: Request, caller: Caller, form: Mapping[str, str]) -> Response:
        decision = form.get("decision", "")
        if decision not in DECISIONS:
            raise Invalid("nothing was decided", remedy="use one of the buttons")
        more = {"cause": form["cause"]} if decision == "explain" and "cause" in form else {}
        comment = form.get("comment", "")
        self._ask(caller, f"incidents.{decision}", number=_number(request), comment=comment, **more)
        return RedirectResponse(here(request), 303)


def _number(request: Request) -> int:
    number = request.path_params["number"]
    if number >= LIMIT:
        raise NotFound(f"there is no incident {number}")
    return number
