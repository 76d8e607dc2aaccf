"""The pages of tracking over HTTP: experiments, one experiment, a run and its pictures, runs side by side."""

from __future__ import annotations

import math
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, urlencode
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from perennial.tracking.chunks import Columns
from perennial.tracking.experiments import Experiment
from perennial.tracking.points import write_columns
from perennial.tracking.run import Input, MetricPoint, Run, StepRecord, spelled
from perennial.workspace import Services

from ..api.conftest import Answer, Served  # noqa: TID252  a test folder is no package with a full name

IN_CI = os.environ.get("CI", "").lower() in {"1", "true"}

SCRIPT = "<script>alert(1)</script>"
AT = 1_790_000_000_000_000
SVG = "{http://www.w3.org/2000/svg}"


def services(served: Served) -> Services:
    return Services(served.owned.workspace)


def experiment(served: Served, name: str = "wages", **tags: str) -> Experiment:
    return services(served).experiments.create(name=name, tags=tags)


def run(served: Served, number: int, name: str = "", **given: object) -> Run:
    return services(served).runs.start(experiment=number, name=name, started=AT, **given)  # type: ignore[arg-type]


def log(served: Served, run_id: str, key: str, values: Mapping[int, float]) -> None:
    points = [MetricPoint(key=key, value=spelled(value), step=step, at=AT + step) for step, value in values.items()]
    for first in range(0, len(points), 1000):
        services(served).runs.log_metrics(run_id=run_id, metrics=points[first : first + 1000])


def page(served: Served, path: str, *pairs: tuple[str, str], status: int = 200, cookie: str = "") -> str:
    answer = served.ask("GET", path + ("?" + urlencode(pairs) if pairs else ""), headers={"cookie": cookie})
    assert answer.status == status, answer.body.decode()
    return answer.body.decode()


def post(served: Served, path: str, form: dict[str, str], cookie: str = "") -> Answer:
    headers = {"content-type": "application/x-www-form-urlencoded", "origin": f"http://127.0.0.1:{served.port}"}
    return served.ask("POST", path, urlencode(form).encode(), headers | {"cookie": cookie})


def links(text: str) -> list[str]:
    return [found.replace("&amp;", "&") for found in re.findall(r'href="([^"]+)"', text)]


def test_an_empty_workspace_says_what_to_write(fresh: Served) -> None:
    shown = page(fresh, "/experiments")
    assert f'mlflow.set_tracking_uri("http://127.0.0.1:{fresh.port}")' in shown
    assert "perennial.open()" in shown
    empty = experiment(fresh)
    shown = page(fresh, f"/experiments/{empty.id}")
    assert "There is no run here yet" in shown
    assert 'ws.runs.start("wages")' in shown
    bare = page(fresh, f"/runs/{run(fresh, empty.id).id}")
    assert "Nothing has been logged to this run yet" in bare


def test_experiments_show_their_newest_run_and_deleted_ones_behind_a_switch(fresh: Served) -> None:
    kept, gone = experiment(fresh, "kept"), experiment(fresh, "gone")
    run(fresh, kept.id, "the newest")
    services(fresh).experiments.delete(id=gone.id)
    shown = page(fresh, "/experiments")
    assert "kept" in shown
    assert "the newest" in shown
    assert "gone" not in shown
    deleted = page(fresh, "/experiments", ("view", "deleted"))
    assert "gone" in deleted
    assert "kept" not in deleted
    assert {"kept", "gone"} <= set(re.findall(r">(kept|gone)<", page(fresh, "/experiments", ("view", "all"))))
    assert "deleted</span>" in page(fresh, f"/experiments/{gone.id}")


def test_a_filter_is_obeyed_and_its_error_stands_beside_it(fresh: Served) -> None:
    one = experiment(fresh, "one", team="a")
    experiment(fresh, "two", team="b")
    shown = page(fresh, "/experiments", ("filter", "tags.team = 'a'"))
    assert ">one<" in shown
    assert ">two<" not in shown
    wrong = page(fresh, "/experiments", ("filter", "name = = 'a'"), status=400)
    assert 'role="alert"' in wrong
    assert 'value="name = = &#39;a&#39;"' in wrong, "what was written is kept, to be mended"
    good, bad = run(fresh, one.id, "good"), run(fresh, one.id, "bad")
    log(fresh, good.id, "loss", {1: 0.1})
    log(fresh, bad.id, "loss", {1: 0.9})
    shown = page(fresh, f"/experiments/{one.id}", ("filter", "metrics.loss < 0.5"))
    assert ">good<" in shown
    assert ">bad<" not in shown
    for odd in ("metrics.loss ? 3", "x.y = 'z'", "a" * 11_000):
        assert 'id="wrong"' in page(fresh, f"/experiments/{one.id}", ("filter", odd), status=400)
    assert 'role="alert"' in page(fresh, f"/experiments/{one.id}", ("token", "nonsense"), status=400)


def test_columns_are_the_most_common_keys_until_somebody_chooses(fresh: Served) -> None:
    one = experiment(fresh)
    for number in range(3):
        held = run(fresh, one.id, f"run {number}", params={"lr": f"0.{number}", "seed": "7"}, tags={"team": "a"})
        for key in ("loss", "a:b c/d", "system/cpu"):
            log(fresh, held.id, key, {1: 1.5 + number})
        log(fresh, held.id, f"only {number}", {1: 1.0})
    here = f"/experiments/{one.id}"
    heads = re.findall(r"<th scope=\"col\"[^>]*><a[^>]*>([^<]+?)\s*(?:<span|</a>)", page(fresh, here))
    assert heads[:3] == ["name", "started", "person"]
    assert heads[3:] == ["a:b c/d", "loss", "only 0", "only 1", "only 2", "params.lr", "params.seed"]
    chosen = page(fresh, here, ("column", "tags.team"), ("column", "metrics.system/cpu"), ("column", "odd"))
    assert ">tags.team" in chosen
    assert "3.5" in chosen
    assert "params.lr</a>" not in chosen
    found = page(fresh, here, ("find", "ONLY"), ("column", "metrics.loss"))
    added = [link for link in links(found) if "metrics.only+1" in link]
    assert added == [f"{here}?find=ONLY&column=metrics.loss&column=metrics.only+1"]
    assert ">only 1" in page(fresh, added[0])
    many = page(fresh, here, *(("column", f"metrics.m{number}") for number in range(40)))
    assert "There is room for 12 columns" not in many
    assert len(re.findall(r"<th scope=\"col\"", many)) == 6 + 12


@pytest.mark.parametrize("key", ["loss", "val loss/x.y", "a.b-c:d"])
def test_a_click_on_a_header_orders_and_another_one_turns_it_around(fresh: Served, key: str) -> None:
    one = experiment(fresh)
    for value in (2.0, 3.0, 1.0):
        log(fresh, run(fresh, one.id, f"at {value:g}").id, key, {1: value})
    here = f"/experiments/{one.id}"

    def order(path: str) -> list[str]:
        return re.findall(r">at (\d)<", page(fresh, path))

    by = urlencode({"order": f"metrics.`{key}`"})
    (up,) = (link for link in links(page(fresh, here)) if by in link)
    assert order(up) == ["1", "2", "3"]
    assert 'aria-sort="ascending"' in page(fresh, up)
    (down,) = (link for link in links(page(fresh, up)) if "way=desc" in link and "metrics" in link)
    assert order(down) == ["3", "2", "1"]


def test_pages_of_runs_lead_on_until_each_was_shown_once(fresh: Served) -> None:
    one = experiment(fresh)
    made = {run(fresh, one.id, f"run {number}").id for number in range(120)}
    seen: list[str] = []
    path = f"/experiments/{one.id}?filter=attributes.status+%3D+%27RUNNING%27"
    for expected in (50, 50, 20):
        text = page(fresh, path)
        found = re.findall(r'name="run" value="(\w+)"', text)
        assert len(found) == expected
        seen += found
        following = re.search(r'href="([^"]+)" rel="next"', text)
        path = following[1].replace("&amp;", "&") if following else ""
    assert path == ""
    assert sorted(seen) == sorted(made)


def test_runs_with_thousands_of_metrics_come_in_short_pages(fresh: Served) -> None:
    one = experiment(fresh)
    for number in range(8):
        held = run(fresh, one.id, f"run {number}")
        for first in range(0, 5000, 1000):
            metrics = [MetricPoint(key=f"m{i}", value=1.0, step=0, at=AT) for i in range(first, first + 1000)]
            services(fresh).runs.log_metrics(run_id=held.id, metrics=metrics)
    first = page(fresh, f"/experiments/{one.id}")
    assert first.count('name="run"') == 5
    following = re.search(r'href="([^"]+)" rel="next"', first)
    assert following is not None
    assert page(fresh, following[1].replace("&amp;", "&")).count('name="run"') == 3
    assert "60 of " in page(fresh, f"/experiments/{one.id}", ("find", "m"))
    whole = page(fresh, f"/runs/{held.id}")
    assert "200 of 5000 metrics" in whole
    assert "1 of 209 (5000 metrics)" in whole


def test_a_run_shows_what_it_used_and_found(fresh: Served) -> None:
    one = experiment(fresh)
    ws = services(fresh)
    held = run(
        fresh, one.id, "swift", params={"lr": "0.1"}, tags={"team": "a", "mlflow.source.name": "train.py"},
        git_commit="4f0c1b2", git_diff="d" * 64, seed=7, reason="to see",
    )  # fmt: skip
    log(fresh, held.id, "loss", {step: 1 / step for step in range(1, 9)})
    ws.runs.log_inputs(run_id=held.id, datasets=[Input(name="survey", digest="abc", context="training")])
    ws.logged_models.create(experiment=one.id, name="forest", run_id=held.id)
    digest = str(fresh.owned.workspace.objects.put(b"hello"))
    ws.artifacts.add_for_run(run_id=held.id, path="plots/a b+c.txt", digest=digest, size=5)
    ws.runs.step(
        run_id=held.id, step=StepRecord(name="collect", fingerprint="f", state="done", started=AT, ended=AT + 2_500_000)
    )
    child = run(fresh, one.id, "child", tags={"mlflow.parentRunId": held.id})
    ws.runs.finish(run_id=held.id, status="failed", error="it broke", ended=AT + 90_000_000)
    shown = page(fresh, f"/runs/{held.id}")
    for text in (
        "swift", "failed", "it broke", "to see", "1 min 30 s", "0.125", "survey", "training", "forest", "collect",
        "2.5 s", "4f0c1b2", "changes that were not committed", "train.py", "child", "<svg",
    ):  # fmt: skip
        assert text in shown, text
    (file,) = (link for link in links(shown) if link.startswith("/get-artifact"))
    assert fresh.ask("GET", file).body == b"hello"
    assert f'href="/runs/{held.id}"' in page(fresh, f"/runs/{child.id}")
    assert "lr" not in re.findall(r'<th scope="row">([^<]+)</th>', page(fresh, f"/runs/{held.id}", ("find", "loss")))


def test_a_deleted_run_is_marked_and_only_a_known_person_deletes_and_restores(fresh: Served) -> None:
    one = experiment(fresh)
    held = run(fresh, one.id, "swift")
    path = f"/runs/{held.id}"
    assert "<button name=" not in page(fresh, path)
    assert post(fresh, path, {"action": "delete"}).status == 401
    cookie = fresh.log_in()
    assert "Delete this run" in page(fresh, path, cookie=cookie)
    assert post(fresh, path, {"action": "explode"}, cookie).status == 400
    deleted = post(fresh, path, {"action": "delete"}, cookie)
    assert (deleted.status, deleted.headers["location"]) == (303, path)
    shown = page(fresh, path, cookie=cookie)
    assert "This run is deleted" in shown
    assert "Restore this run" in shown
    assert "swift" not in page(fresh, f"/experiments/{one.id}")
    assert "deleted</span>" in page(fresh, f"/experiments/{one.id}", ("view", "all"))
    assert post(fresh, path, {"action": "restore"}, cookie).status == 303
    assert services(fresh).runs.get(run_id=held.id).lifecycle == "active"
    assert post(fresh, "/runs/" + "0" * 32, {"action": "delete"}, cookie).status == 404


def test_charts_tell_in_words_what_they_show_and_what_they_leave_out(fresh: Served) -> None:
    held = run(fresh, experiment(fresh).id)
    log(fresh, held.id, "loss", {1: 2.0, 2: math.nan, 3: 0.5})
    log(fresh, held.id, "gone", {1: math.nan, 2: math.nan})
    log(fresh, held.id, "odd", {1: 1.0, 2: math.inf, 3: 3.0})
    log(fresh, held.id, "below", {1: -1.0, 2: 10.0})
    log(fresh, held.id, "once", {0: 0.75})
    log(fresh, held.id, "system/cpu", {1: 50.0, 2: 60.0})
    shown = page(fresh, f"/runs/{held.id}")
    assert "from step 1 to 3, lowest 0.5, highest 2, last 0.5. 1 value is NaN." in shown
    assert "nothing to draw. 2 values are NaN. The newest value is NaN." in shown
    assert "1 infinite value is not drawn." in shown
    assert "One value each, below: once." in shown
    assert shown.index(">The machine<") < shown.index("system/cpu</title>")
    assert shown.count("<title id=") == 5
    ids = re.findall(r' id="(chart\d+[td])"', shown)
    assert len(ids) == len(set(ids)) == 10
    logarithmic = page(fresh, f"/runs/{held.id}", ("scale", "log"))
    assert "Values of zero and below have no place on a logarithmic axis." in logarithmic
    assert "(logarithmic values)" in logarithmic


def test_there_are_24_charts_a_page_and_a_text_finds_others(fresh: Served) -> None:
    held = run(fresh, experiment(fresh).id)
    for number in range(30):
        log(fresh, held.id, f"layer {number}", {1: 1.0, 2: 2.0})
    first = page(fresh, f"/runs/{held.id}")
    titles = re.findall(r"<title id=\"\w+\">([^<]+)", first)
    assert titles == [f"layer {number}" for number in range(24)]
    (following,) = (link for link in links(first) if "charts=2" in link)
    assert page(fresh, following.partition("#")[0]).count("<title id=") == 6
    assert page(fresh, f"/runs/{held.id}", ("find", "LAYER 29")).count("<title id=") == 1
    for odd in ("-1", "x", "9" * 30, "²"):
        assert page(fresh, f"/runs/{held.id}", ("charts", odd))


def test_a_picture_stands_alone_as_well_formed_xml(fresh: Served) -> None:
    held = run(fresh, experiment(fresh).id, "odd \x01 \uffff <b>&")
    log(fresh, held.id, "val/loss x", {step: float(step % 7) for step in range(3000)})
    path = f"/runs/{held.id}/metric.svg"
    answer = fresh.ask("GET", f"{path}?{urlencode({'key': 'val/loss x', 'points': '200'})}")
    assert (answer.status, answer.headers["content-type"]) == (200, "image/svg+xml")
    drawn = ET.fromstring(answer.body)
    title, line = drawn.find(f"{SVG}title"), drawn.find(f"{SVG}polyline")
    assert title is not None
    assert line is not None
    assert "val/loss x of odd" in str(title.text)
    places = [tuple(map(float, point.split(","))) for point in line.attrib["points"].split()]
    assert 100 <= len(places) <= 200
    assert places == sorted(places, key=lambda place: place[0])
    assert all(0 <= x <= 900 and 0 <= y <= 420 for x, y in places)
    assert {"0", "1k", "2k"} <= {text.text for text in drawn.iter(f"{SVG}text")}
    for odd in ("1", "1001", "x", "-5", "²", "9" * 20):
        page(fresh, path, ("key", "val/loss x"), ("points", odd), status=400)
    page(fresh, path, ("key", "other"), status=404)
    page(fresh, f"/runs/{'0' * 32}/metric.svg", ("key", "other"), status=404)


def test_a_metric_without_steps_is_drawn_over_time(fresh: Served) -> None:
    held = run(fresh, experiment(fresh).id)
    points = [MetricPoint(key="loss", value=float(i), step=0, at=AT + i * 1_000_000) for i in range(20)]
    services(fresh).runs.log_metrics(run_id=held.id, metrics=points)
    assert "from seconds 0 to 19, lowest 0, highest 19, last 19." in page(fresh, f"/runs/{held.id}")


def test_a_million_points_are_drawn_with_few(fresh: Served) -> None:
    one = experiment(fresh)
    held = run(fresh, one.id)
    step = np.arange(1_000_000, dtype=np.int64)
    value = np.sin(step / 1e5)
    value[777_777] = 5.0
    columns = Columns(AT + step, step, value)
    fresh.owned.records.write(lambda tx: write_columns(tx.connection, one.id, held.id, {"loss": columns}))
    shown = page(fresh, f"/runs/{held.id}")
    assert "lowest -1, highest 5" in shown, "a single peak is not lost"
    assert len(shown) < 40_000


def test_runs_side_by_side_show_what_differs(fresh: Served) -> None:
    one = experiment(fresh)
    first = run(fresh, one.id, "first", params={"lr": "0.1", "depth": "3"})
    second = run(fresh, one.id, "second", params={"lr": "0.2", "depth": "3", "extra": "x"})
    for held, scale in ((first, 1.0), (second, 2.0)):
        log(fresh, held.id, "loss", {step: scale * step for step in range(1, 5)})
        log(fresh, held.id, "other", dict.fromkeys(range(1, 5), 1.0))
    chosen = [("run", first.id), ("run", second.id)]
    shown = page(fresh, "/compare", *chosen)
    differing = re.findall(r'class="differs"><th scope="row">([^<]+?) <', shown)
    assert differing == ["extra", "lr", "loss"]
    only = page(fresh, "/compare", *chosen, ("only", "differences"))
    assert "depth" not in only
    assert len(set(re.findall(r'<polyline[^>]*stroke="([^"]+)"', shown))) == 2
    assert re.findall(r"<li><svg[^>]*>.*?</svg>\s*(\w+): from", shown) == ["first", "second"] * 2
    drawn = page(fresh, "/compare", *chosen, ("metric", "other"))
    assert re.findall(r"<figcaption>([^<]+)", drawn) == ["other"]


def test_a_run_that_is_not_there_does_not_hide_the_others(fresh: Served) -> None:
    held = run(fresh, experiment(fresh).id, "here")
    shown = page(fresh, "/compare", ("run", held.id), ("run", "0" * 32), ("run", SCRIPT))
    assert ">here<" in shown
    assert shown.count('class="problem"') == 2
    assert SCRIPT not in shown
    assert "Choose two runs" in page(fresh, "/compare")
    many = page(fresh, "/compare", *(("run", f"{number:032x}") for number in range(30)))
    assert "30 runs were chosen" in many


def test_C07_whatever_a_client_wrote_stays_text(fresh: Served) -> None:
    one = experiment(fresh, f"e {SCRIPT}", **{"mlflow.note.content": SCRIPT, "tag": SCRIPT})
    held = run(
        fresh, one.id, f"r {SCRIPT}", params={"p": f'{SCRIPT}"><img src=x onerror=alert(1)>'}, person=SCRIPT,
        tags={"t": SCRIPT, "mlflow.note.content": SCRIPT, "mlflow.source.name": SCRIPT}, reason=SCRIPT,
        git_commit=SCRIPT,
    )  # fmt: skip
    services(fresh).runs.log_inputs(
        run_id=held.id, datasets=[Input(name=SCRIPT, digest="a", source=SCRIPT, schema=SCRIPT, context=SCRIPT)]
    )
    log(fresh, held.id, "loss", {1: 1.0, 2: 2.0})
    services(fresh).runs.step(
        run_id=held.id,
        step=StepRecord(name=SCRIPT, fingerprint=SCRIPT, state="failed", error=SCRIPT, started=AT, ended=AT),
    )
    services(fresh).runs.finish(run_id=held.id, status="failed", error=SCRIPT)
    empty = experiment(fresh, f"{SCRIPT}\"'")
    odd = [("filter", SCRIPT), ("find", SCRIPT), ("column", f"metrics.{SCRIPT}"), ("order", SCRIPT), ("token", SCRIPT)]
    for path in (
        "/experiments", f"/experiments/{one.id}", f"/experiments/{empty.id}", f"/runs/{held.id}",
        f"/runs/{held.id}/metric.svg?key=loss", f"/compare?run={held.id}&run={held.id}&metric={quote(SCRIPT)}",
        f"/compare?{urlencode([('run', held.id), *odd])}", f"/experiments?{urlencode(odd)}",
        f"/experiments/{one.id}?{urlencode(odd)}", f"/runs/{held.id}?{urlencode(odd)}",
    ):  # fmt: skip
        answer = fresh.ask("GET", path)
        assert answer.status in (200, 400), path
        text = answer.body.decode()
        assert "<script" not in text, path
        assert "<img" not in text, path
        assert " style=" not in text, "the policy forbids styles in a page"
        assert "script-src" not in answer.headers["content-security-policy"]


def test_the_front_page_leads_from_the_addresses_of_mlflow_to_ours(fresh: Served) -> None:
    front = fresh.ask("GET", "/")
    assert '<script src="/addresses.js" defer></script>' in front.body.decode()
    policy = front.headers["content-security-policy"].split("; ")
    assert {"default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"} <= set(policy)
    script = fresh.ask("GET", "/addresses.js")
    assert script.headers["content-type"].startswith("text/javascript")


@pytest.mark.parametrize("kind", ["run", "experiment"])
def test_a_browser_follows_the_links_that_the_client_of_mlflow_prints(fresh: Served, tmp_path: Path, kind: str) -> None:
    browser = shutil.which("chromium")
    if browser is None:
        reason = "chromium is not installed"
        pytest.fail(reason) if IN_CI else pytest.skip(reason)
    one = experiment(fresh, "the experiment")
    held = run(fresh, one.id, "the run")
    printed = f"#/experiments/{one.id}" + (f"/runs/{held.id}" if kind == "run" else "")
    done = subprocess.run(
        [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
            "--disable-component-update", "--disable-sync", f"--user-data-dir={tmp_path}",
            "--virtual-time-budget=5000", "--dump-dom", f"http://127.0.0.1:{fresh.port}/{printed}",
        ],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert f"<title>the {kind}</title>" in done.stdout, done.stderr


@pytest.mark.parametrize(
    "path", ["/experiments/99", "/experiments/" + "9" * 30, "/runs/%00", "/runs/x%20y", "/runs/" + "a" * 300]
)
def test_what_is_not_there_is_a_404(served: Served, path: str) -> None:
    assert "<h1>404</h1>" in page(served, path, status=404)
