"""The pages of runs: one run with what it used and found, the picture of one metric, several runs side by side."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from perennial.api.auth import Caller
from perennial.api.dispatch import Dispatcher
from perennial.api.server import Door
from perennial.errors import Invalid, NotFound, PerennialError
from perennial.ui.chart import draw, told
from perennial.ui.comparing import chart_choice, charts_of, rows_of
from perennial.ui.making import Asking, door, here, page
from perennial.ui.run_view import Limits, charts_page, filtered, found_files
from perennial.ui.series import SYSTEM, keys_to_draw, line_of, x_name

__all__ = ["doors"]

MAX_POINTS = 1000  # of a picture of one metric
MAX_COMPARED = 20  # as many as there are looks of a line that can be told apart
CHILDREN = 20
_ID = re.compile(r"[\w-]{1,256}")


def doors(dispatcher: Dispatcher) -> list[Door]:
    """The routes of these pages."""
    pages = _Pages(Asking(dispatcher))
    return [
        door("GET", "/runs/{id}", "read", pages.run, "One run."),
        door("POST", "/runs/{id}", "write", pages.move, "Delete a run, or restore it."),
        door("GET", "/runs/{id}/metric.svg", "read", pages.metric, "The picture of one metric of a run."),
        door("GET", "/compare", "read", pages.compare, "Several runs side by side."),
    ]


class _Pages:
    def __init__(self, ask: Asking) -> None:
        self._ask = ask

    def run(self, request: Request, caller: Caller, form: Mapping[str, str]) -> Response:
        asked = request.query_params
        run = self._run(caller, request.path_params["id"])
        find, is_log = asked.get("find", "")[:250], asked.get("scale") == "log"
        metrics = run["metrics"]
        drawn = keys_to_draw({key: held for key, held in metrics.items() if not key.startswith(SYSTEM)}, find)
        system = keys_to_draw({key: held for key, held in metrics.items() if key.startswith(SYSTEM)}, find)
        sections = [
            charts_page(self._ask, caller, run, "Charts", "charts", drawn, asked, Limits.charts, is_log=is_log),
            charts_page(self._ask, caller, run, "The machine", "system", system, asked, Limits.system, is_log=is_log),
        ]
        return page(
            "run.html",
            caller,
            run=run,
            asked=asked.multi_items(),
            find=find,
            is_log=is_log,
            sections=[section for section in sections if section.total],
            metrics=filtered(metrics, find),
            params=filtered(run["params"], find),
            tags=filtered({k: v for k, v in run["tags"].items() if not k.startswith("mlflow.")}, find),
            client=filtered({k: v for k, v in run["tags"].items() if k.startswith("mlflow.")}, find),
            files=found_files(run["artifacts"], find),
            models=self._models(caller, run),
            parent=run["tags"].get("mlflow.parentRunId", ""),
            children=self._children(caller, run),
            note=run["tags"].get("mlflow.note.content", ""),
            here=here(request),
        )

    def move(self, request: Request, caller: Caller, form: Mapping[str, str]) -> Response:
        action = form.get("action", "")
        if action not in ("delete", "restore"):
            raise Invalid("a run can be deleted or restored here", where="action")
        self._ask(caller, f"runs.{action}", run_id=_checked(request.path_params["id"]))
        return RedirectResponse(here(request), 303)

    def metric(self, request: Request, caller: Caller, form: Mapping[str, str]) -> Response:
        asked = request.query_params
        key, points = asked.get("key", ""), asked.get("points", str(MAX_POINTS))
        if not (points.isascii() and points.isdecimal() and len(points) < 6 and 2 <= int(points) <= MAX_POINTS):
            raise Invalid(f"a picture has 2 to {MAX_POINTS} points", where="points")
        run = self._run(caller, request.path_params["id"])
        if key not in run["metrics"]:
            raise NotFound("this run has no metric of this name", where=f"key {key!r}", remedy="its page lists them")
        line = line_of(self._ask, caller, run, key, points=int(points))
        picture = draw(
            [line],
            title=f"{key} of {run['name'] or run['id']}",
            x_name=x_name(run["metrics"][key]),
            is_log=asked.get("scale") == "log",
            width=900,
            height=420,
            stands_alone=True,
        )
        return Response(picture, media_type="image/svg+xml")

    def compare(self, request: Request, caller: Caller, form: Mapping[str, str]) -> Response:
        asked = request.query_params
        ids = list(dict.fromkeys(asked.getlist("run")))
        problems: list[str] = []
        if len(ids) > MAX_COMPARED:
            problems.append(f"{len(ids)} runs were chosen; the first {MAX_COMPARED} of them are compared")
        runs: list[dict[str, Any]] = []
        for run_id in ids[:MAX_COMPARED]:
            try:
                runs.append(self._run(caller, run_id))
            except PerennialError as error:  # the others can still be compared
                problems.append(f"{run_id[:256]}: {error.what}")
        find, is_log = asked.get("find", "")[:250], asked.get("scale") == "log"
        differing = asked.get("only") == "differences"
        chosen, matching, count = chart_choice(runs, asked.getlist("metric"), find)
        params, metrics = (rows_of(runs, entity, find, differing=differing) for entity in ("params", "metrics"))
        return page(
            "compare.html",
            caller,
            problems=problems,
            runs=runs,
            asked=asked.multi_items(),
            find=find,
            is_log=is_log,
            differing=differing,
            params=params,
            metrics=metrics,
            chosen=chosen,
            matching=matching,
            count=count,
            charts=charts_of(self._ask, caller, runs, chosen, is_log=is_log),
            told=told,
        )

    def _run(self, caller: Caller, run_id: str) -> dict[str, Any]:
        return self._ask(caller, "runs.get", run_id=_checked(run_id))

    def _models(self, caller: Caller, run: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
        """The models that the run read or made: the role of each, and what is known of it."""
        roles = {link["model"]: link["role"] for link in run["models"]}
        made = self._ask(
            caller,
            "logged_models.search",
            experiments=[run["experiment"]],
            filter=f"source_run_id = '{run['id']}'",
            limit=50,
        )["models"]
        found = [(roles.pop(model["id"], "output"), model) for model in made]
        return found + [(role, {"id": model}) for model, role in roles.items()]

    def _children(self, caller: Caller, run: Mapping[str, Any]) -> list[dict[str, Any]]:
        return self._ask(
            caller,
            "runs.search",
            experiments=[run["experiment"]],
            filter=f"tags.`mlflow.parentRunId` = '{run['id']}'",
            limit=CHILDREN,
        )["runs"]


def _checked(run_id: str) -> str:
    if not _ID.fullmatch(run_id):
        raise NotFound("there is no run of this id", remedy="/experiments leads to all runs")
    return run_id
