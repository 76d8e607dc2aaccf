"""The pages of experiments: all of them, and one as a table of its runs.

What a visitor filters, orders and chooses stands in the address, so that a view can be kept and sent to somebody.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from perennial.api.auth import Caller
from perennial.api.dispatch import Dispatcher
from perennial.api.server import Door
from perennial.errors import Invalid, NotFound
from perennial.ui.columns import MAX_COLUMNS, chosen_columns, matching_columns
from perennial.ui.making import Asking, door, page

__all__ = ["doors"]

EXPERIMENTS_A_PAGE = 50
RUNS_A_PAGE = 50
RUNS_TO_WEIGH = 5
METRICS_A_PAGE = 20_000  # of the first runs; with more of them these are the page
NOTE = "mlflow.note.content"
OWN = (("name", "attributes.run_name"), ("started", "attributes.start_time"), ("person", "attributes.user_id"))
VIEWS = ("active", "deleted", "all")


def doors(dispatcher: Dispatcher) -> list[Door]:
    """The routes of these pages."""
    pages = _Pages(Asking(dispatcher))
    return [
        door("GET", "/experiments", "read", pages.experiments, "All experiments."),
        door("GET", "/experiments/{id:int}", "read", pages.experiment, "The runs of one experiment."),
    ]


class _Pages:
    def __init__(self, ask: Asking) -> None:
        self._ask = ask

    def experiments(self, request: Request, caller: Caller, form: Mapping[str, str]) -> Response:
        asked = request.query_params
        view = _view(asked)
        wrong: Invalid | None = None
        found: dict[str, Any] = {"experiments": [], "next_page_token": None}
        try:
            found = self._ask(
                caller,
                "experiments.search",
                filter=asked.get("filter", ""),
                view=view,
                limit=EXPERIMENTS_A_PAGE,
                page_token=asked.get("token", ""),
            )
        except Invalid as error:
            wrong = error
        loops = {loop["name"] for loop in self._ask(caller, "renew.loops")}
        rows = [(one, one["name"] in loops, self._newest(caller, one["id"])) for one in found["experiments"]]
        return page(
            "experiments.html",
            caller,
            400 if wrong else 200,
            rows=rows,
            wrong=wrong,
            asked=asked.multi_items(),
            filter=asked.get("filter", ""),
            view=view,
            next=found["next_page_token"],
            is_first="token" not in asked,
            server=_server(request),
        )

    def experiment(self, request: Request, caller: Caller, form: Mapping[str, str]) -> Response:
        number = request.path_params["id"]
        if number >= 2**31:  # more than the records can count
            raise NotFound(f"there is no experiment {number}", remedy="/experiments lists them")
        asked = request.query_params
        experiment = self._ask(caller, "experiments.get", id=number)
        # The runs of a deleted experiment are deleted with it: they are what its page is about.
        view = _view(asked) if experiment["lifecycle"] == "active" or "view" in asked else "all"
        order, way = asked.get("order", ""), "asc" if asked.get("way") == "asc" else "desc"
        wrong: Invalid | None = None
        found: dict[str, Any] = {"runs": [], "next_page_token": None}
        try:
            found = self._page_of_runs(
                caller,
                asked.get("token", ""),
                experiments=[number],
                filter=asked.get("filter", ""),
                order_by=[f"{order} {way}"] if order else [],
                view=view,
            )
        except Invalid as error:
            wrong = error
        runs = found["runs"]
        columns = chosen_columns(runs, asked.getlist("column"))
        find = asked.get("find", "")[:250]
        matching, count = matching_columns(runs, find, columns)
        return page(
            "experiment.html",
            caller,
            400 if wrong else 200,
            experiment=experiment,
            note=experiment["tags"].get(NOTE, ""),
            runs=runs,
            columns=columns,
            names=[column.name for column in columns],
            own=OWN,
            order=order,
            way=way,
            wrong=wrong,
            asked=asked.multi_items(),
            filter=asked.get("filter", ""),
            view=view,
            find=find,
            matching=matching,
            count=count,
            room=MAX_COLUMNS - len(columns),
            next=found["next_page_token"],
            is_first="token" not in asked,
            here=f"/experiments/{number}",
            server=_server(request),
        )

    def _page_of_runs(self, caller: Caller, token: str, **search: object) -> dict[str, Any]:
        """A page of runs, a shorter one where each run has thousands of metrics: they are read whole."""
        first = self._ask(caller, "runs.search", limit=RUNS_TO_WEIGH, page_token=token, **search)
        following = first["next_page_token"]
        if following is None or sum(len(run["metrics"]) for run in first["runs"]) > METRICS_A_PAGE:
            return first
        rest = self._ask(caller, "runs.search", limit=RUNS_A_PAGE - RUNS_TO_WEIGH, page_token=following, **search)
        return {"runs": first["runs"] + rest["runs"], "next_page_token": rest["next_page_token"]}

    def _newest(self, caller: Caller, experiment: int) -> dict[str, Any] | None:
        found = self._ask(caller, "runs.search", experiments=[experiment], view="all", limit=1)
        return next(iter(found["runs"]), None)


def _view(asked: QueryParams) -> str:
    view = asked.get("view", "active")
    return view if view in VIEWS else "active"


def _server(request: Request) -> str:
    """The address under which clients reach us; the guard let only names of this machine through."""
    return f"http://{request.headers.get('host', '127.0.0.1:5000')}"
