"""Guards and fallbacks through the front door, on samples that training did not foresee: what is answered, flagged,
written down and counted, and who answers instead."""

from __future__ import annotations

import threading
import time
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from perennial.loop import fallback, guard
from perennial.loop.failsafe import BreakerPolicy, FailSafePolicy, IntervalPolicy
from perennial.models.guards.calibrating import Answered, Calibration
from perennial.models.guards.spec import FailSafe
from perennial.models.preparation import Preparation, learn

PIXELS = [f"p{at:02}" for at in range(64)]
LETTER = ("#......#", "##....##", "#.#..#.#", "#..##..#", "#......#", "#......#", "#......#", "#......#")  # an M
MAN = {"education": 12, "experience": 15, "ethnicity": "cauc", "smsa": "yes", "region": "midwest", "parttime": "no"}


def failsafe(*guards: Any, links: tuple[Any, ...] = (), **options: Any) -> FailSafe:
    return FailSafe.of(FailSafePolicy(guards=guards, fallbacks=links, **options))


def row_of(image: Any) -> dict[str, float]:
    return dict(zip(PIXELS, np.asarray(image, dtype=float).ravel().tolist(), strict=True))


def pixels(digits: pl.DataFrame, at: int) -> np.ndarray[Any, Any]:
    return np.array(digits.select(PIXELS).row(at)).reshape(8, 8)


def unforeseen(digits: pl.DataFrame) -> dict[str, dict[str, float]]:
    return {
        "rotated": row_of(np.rot90(pixels(digits, 1501))),
        "letter": row_of([[16.0 if mark == "#" else 0.0 for mark in line] for line in LETTER]),
        "blank": row_of(np.zeros((8, 8))),
    }


def metric(service: Any, name: str, **labels: str) -> float:
    """The sum of a counter over what has these labels."""
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    lines = service.get("/metrics").body.decode().splitlines()
    found = [line for line in lines if line.startswith(f"perennial_{name}{{") and all(one in line for one in wanted)]
    return sum(float(line.rpartition(" ")[2]) for line in found)


@pytest.fixture
def reading(place: Any, digits: pl.DataFrame) -> tuple[Any, Any]:
    """Two versions that read digits: a forest, and a simpler one before it."""
    known = digits.head(1500).to_arrow()
    preparation = learn(known, target="digit")
    x, y = preparation.x(preparation.raw(known)), preparation.y(known)
    declared = failsafe(guard.unforeseen(p=0.001, action="flag"), guard.missing(action="fill"))
    forest = RandomForestClassifier(20, random_state=0).fit(x, y)
    plain = LogisticRegression(max_iter=5000).fit(x, y)
    return (
        place.real(2, forest, preparation, known, failsafe=declared),
        place.real(1, plain, preparation, known, failsafe=declared),
    )


def test_what_no_digit_looks_like_is_flagged_refused_handed_on_or_left_to_a_person(
    place: Any, digits: pl.DataFrame, reading: tuple[Any, Any]
) -> None:
    live, before = reading
    previous = (fallback.previous(), fallback.person())
    service = place.answering(
        place.real_endpoint("flags", live, failsafe=failsafe(guard.unforeseen(action="flag"))),
        place.real_endpoint("rejects", live, failsafe=failsafe(guard.unforeseen(action="reject"))),
        place.real_endpoint("abstains", live, failsafe=failsafe(guard.unforeseen(action="abstain"))),
        place.real_endpoint(
            "falls", live, fallback=before, failsafe=failsafe(guard.unforeseen(action="fall_back"), links=previous)
        ),
    )
    assert service.workers() == []  # compiled, and in the fronts themselves
    usual = row_of(pixels(digits, 1600))
    strange = unforeseen(digits)
    label = digits["digit"][1600]
    for endpoint in ("flags", "rejects", "abstains", "falls"):
        (answer,) = service.predict(usual, endpoint=endpoint).json["predictions"]
        assert (answer["prediction"], answer["version"], answer["arm"], "flags" in answer) == (label, 2, "live", False)
    for name, row in strange.items():
        (flagged,) = service.predict(row, endpoint="flags").json["predictions"]
        assert [(flag["guard"], flag["action"]) for flag in flagged["flags"]] == [("unforeseen", "flag")], name
        assert flagged["prediction"] is not None
        refused = service.predict(usual, row, endpoint="rejects")
        assert (refused.status, refused.json["where"]) == (422, "records[1]"), name
        assert "unforeseen" in refused.json["message"]
        mine, hers = service.predict(usual, row, endpoint="abstains").json["predictions"]
        assert (mine["prediction"], mine["arm"]) == (label, "live")
        assert (hers["prediction"], hers["arm"], hers["version"], "probabilities" in hers) == (None, "person", 0, False)
        waiting = service.get(f"/answers/{hers['id']}")
        assert (waiting.status, waiting.json["status"]) == (202, "waiting")
        one, other = service.predict(row, usual, endpoint="falls").json["predictions"]
        assert (one["arm"], one["version"], one["flags"][0]["action"]) == ("fallback", 1, "fall_back")
        assert abs(sum(one["probabilities"].values()) - 1) < 1e-9
        assert (other["arm"], other["version"], other["prediction"]) == ("live", 2, label)
    written = {(told.endpoint, told.id): told for told in place.predicted()}
    mixed = [told for (endpoint, _), told in written.items() if endpoint == "falls" and len(told.inputs) == 2]
    assert [told.inputs[0] for told in mixed] == list(strange.values())
    assert all((told.versions, told.arms) == ([1, 2], ["fallback", "live"]) for told in mixed)
    assert all([flag.guard for flag in told.flags[0]] == ["unforeseen"] and not told.flags[1] for told in mixed)
    for endpoint, action in (("flags", "flag"), ("abstains", "abstain"), ("falls", "fall_back")):
        assert metric(service, "guards_total", endpoint=endpoint, guard="unforeseen", action=action) == 3
    assert metric(service, "fallbacks_total", endpoint="falls", arm="fallback") == 3


@pytest.fixture(scope="module")
def paying(shared: Any, wages: pl.DataFrame) -> Any:
    """A service whose versions know what people earn, none of them in the south, behind the guards of three tests."""
    known = wages.head(2000).to_arrow()
    preparation = learn(known, target="wage")
    texts = ["ethnicity", "smsa", "region", "parttime"]
    from sklearn.compose import make_column_transformer

    rows = preparation.raw(known)
    x, y = preparation.x(rows).to_pandas(), preparation.y(known)
    encode = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), texts), remainder="passthrough"
    )
    several = make_pipeline(encode, LinearRegression()).fit(x, y)
    preparation = Preparation(msgspec.structs.replace(preparation.signature, model_frame="pandas"))
    declared = failsafe(
        guard.range(action="fill"), guard.missing(action="fill"), guard.unseen(action="flag"),
        interval=IntervalPolicy(level=0.9),
    )  # fmt: skip

    def answered(part: pl.DataFrame) -> Answered:
        table = part.to_arrow()
        raw = preparation.raw(table)
        return Answered(frame=raw, truth=preparation.y(table), values=several.predict(preparation.x(raw)))

    calibration = Calibration(
        rows=answered(wages[2000:3000]), test=answered(wages[3000:]), says="a thousand rows that it had not seen"
    )
    live, before = (
        shared.real(version, several, preparation, known, failsafe=declared, calibration=calibration)
        for version in (2, 1)
    )
    level = IntervalPolicy(level=0.9)
    return shared.answering(
        *unseen_regions(shared, live, before, level),
        *holes(shared, live, before),
        shared.real_endpoint("wage", live, failsafe=failsafe(interval=level)),
    )


def unseen_regions(place: Any, live: Any, before: Any, level: IntervalPolicy) -> list[Any]:
    chain = (fallback.previous(), fallback.constant(), fallback.person())
    return [
        place.real_endpoint("flags", live, failsafe=failsafe(guard.unseen(action="flag"), interval=level)),
        place.real_endpoint("rejects", live, failsafe=failsafe(guard.unseen(action="reject"))),
        place.real_endpoint("fills", live, failsafe=failsafe(guard.unseen(action="fill"), guard.range(action="fill"))),
        place.real_endpoint(
            "falls", live, fallback=before, failsafe=failsafe(guard.unseen(action="fall_back"), links=chain)
        ),
        place.real_endpoint("constant", live, failsafe=failsafe(guard.unseen(action="fall_back"), links=chain)),
        place.real_endpoint(
            "given", live, failsafe=failsafe(guard.unseen(action="fall_back"), links=(fallback.constant(500.0),))
        ),
        place.real_endpoint("persons", live, failsafe=failsafe(guard.unseen(action="fall_back"), links=chain[2:])),
        place.real_endpoint("nobody", live, failsafe=failsafe(guard.unseen(action="fall_back"))),
    ]


def test_a_man_from_a_region_that_training_did_not_see(shared: Any, paying: Any, wages: pl.DataFrame) -> None:
    south = MAN | {"region": "south"}
    (usual,) = paying.predict(MAN, endpoint="flags").json["predictions"]
    low, high = usual["interval"]
    assert low < usual["prediction"] < high
    (flagged,) = paying.predict(south, endpoint="flags").json["predictions"]
    assert (flagged["flags"][0]["column"], flagged["arm"]) == ("region", "live")
    refused = paying.predict(south, endpoint="rejects")
    assert (refused.status, refused.json["where"]) == (422, "records[0].region")
    assert "south" in refused.json["message"]
    most = wages.head(2000)["region"].mode()[0]
    filled, alike = paying.predict(south, MAN | {"region": most}, endpoint="fills").json["predictions"]
    assert filled["prediction"] == alike["prediction"]
    assert [(flag["guard"], flag["action"]) for flag in filled["flags"]] == [("unseen", "fill")]
    assert shared.predicted()[-1].inputs[0]["region"] == "south"  # as it was asked, not as it was answered
    told = {
        name: paying.predict(MAN, south, endpoint=name).json["predictions"]
        for name in ("falls", "constant", "given", "persons")
    }
    assert all(rows[0]["arm"] == "live" for rows in told.values())
    assert [rows[1]["arm"] for rows in told.values()] == ["fallback", "constant", "constant", "person"]
    assert [rows[1]["version"] for rows in told.values()] == [1, 0, 0, 0]
    mean = wages.head(2000)["wage"].mean()
    assert told["constant"][1]["prediction"] == pytest.approx(mean)
    assert told["given"][1]["prediction"] == 500.0
    assert told["persons"][1]["prediction"] is None
    assert metric(paying, "fallbacks_total", endpoint="constant", arm="constant") == 1
    assert metric(paying, "guards_total", endpoint="fills", guard="unseen", action="fill") == 1
    one, other = paying.predict(MAN, south, endpoint="nobody").json["predictions"]
    assert (one["prediction"] is not None, other["prediction"], "error" in other) == (True, None, True)


def test_intervals_hold_what_they_promise_and_sets_are_in_the_answer_and_the_segment(
    shared: Any, paying: Any, wages: pl.DataFrame
) -> None:
    fresh = wages[3000:]
    rows = paying.predict(*fresh.drop("wage").to_dicts()).json["predictions"]
    covered = [row["interval"][0] <= wage <= row["interval"][1] for row, wage in zip(rows, fresh["wage"], strict=True)]
    # 1,000 rows behind 1,000 that calibrated: five standard deviations of both counts together.
    assert abs(np.mean(covered) - 0.9) < 5 * (0.9 * 0.1 * 2 / 1000) ** 0.5
    (frame,) = (frame for frame, layout in shared.frames() if layout.endpoint == "wage")
    assert frame.intervals == [row["interval"] for row in rows]


def test_sets_of_digits_hold_the_truth_as_often_as_promised(place: Any, digits: pl.DataFrame) -> None:
    known = digits.head(900).to_arrow()
    preparation = learn(known, target="digit")
    forest = RandomForestClassifier(20, random_state=0).fit(preparation.x(preparation.raw(known)), preparation.y(known))
    shuffled = digits[900:].sample(fraction=1.0, shuffle=True, seed=3)

    def answered(part: pl.DataFrame) -> Answered:
        table = part.to_arrow()
        raw = preparation.raw(table)
        found = forest.predict_proba(preparation.x(raw))
        return Answered(frame=raw, truth=preparation.y(table), probabilities=found, classes=list(forest.classes_))

    declared = failsafe(guard.uncertain(below=0.5, action="abstain"), interval=IntervalPolicy(level=0.9))
    arm = place.real(
        1, forest, preparation, known, failsafe=declared,
        calibration=Calibration(rows=answered(shuffled[:450]), test=answered(shuffled[450:]), says="rows not seen"),
    )  # fmt: skip
    service = place.answering(place.real_endpoint("digits", arm, failsafe=declared))
    fresh = shuffled[450:]
    rows = service.predict(*fresh.select(PIXELS).to_dicts(), endpoint="digits").json["predictions"]
    expected = forest.predict_proba(fresh.select(PIXELS))
    sure = expected.max(axis=1)
    # Votes of twenty trees: the ones at the threshold itself may fall to either side.
    clear = np.abs(sure - 0.5) > 1e-6
    left = np.array([row["arm"] == "person" for row in rows])
    assert (left[clear] == (sure < 0.5)[clear]).all()
    assert left.any()
    assert not any("set" in row or "probabilities" in row for row in rows if row["arm"] == "person")
    kept = [(row, truth) for row, truth in zip(rows, fresh["digit"], strict=True) if row["arm"] == "live"]
    assert np.mean([truth in row["set"] for row, truth in kept]) > 0.85


def holes(place: Any, live: Any, before: Any) -> list[Any]:
    rule = guard.output(low=10_000.0, action="fall_back")  # nobody earns as much: all rows fall back
    filling = failsafe(guard.missing(action="fill"), rule, links=(fallback.previous(),))
    return [
        place.real_endpoint("filled", live, failsafe=failsafe(guard.missing(action="fill"))),
        place.real_endpoint("rule", live, fallback=before, failsafe=filling),
        place.real_endpoint("plain", live),
    ]


def test_a_missing_value_is_filled_for_whoever_answers(shared: Any, paying: Any, wages: pl.DataFrame) -> None:
    usual = float(wages.head(2000)["experience"].median())
    holed = MAN | {"experience": None}
    assert paying.predict(holed, endpoint="plain").status == 422
    alike = MAN | {"experience": round(usual)}
    filled, alike = paying.predict(holed, alike, endpoint="filled").json["predictions"]
    assert filled["prediction"] == pytest.approx(alike["prediction"], rel=1e-6)
    assert [(flag["guard"], flag["column"]) for flag in filled["flags"]] == [("missing", "experience")]
    # Its answer breaks the rule, and the one before it breaks it, too: the chain ends, and the row says so.
    told = paying.predict(holed, endpoint="rule")
    assert (told.status, told.headers["retry-after"]) == (503, "1")
    assert {flag.guard for frame in shared.predicted() if frame.endpoint == "rule" for flag in frame.flags[0]} == {
        "missing", "output"
    }  # fmt: skip


def test_F18_what_stands_for_an_answer_that_is_no_number(place: Any) -> None:
    stands: dict[str, tuple[Any, float | None]] = {
        "null": ("null", None), "number": (7.0, 7.0), "fall_back": ("fall_back", 3.0), "abstain": ("abstain", None)
    }  # fmt: skip
    live, last = place.arm(1), (fallback.constant(3.0),)
    service = place.answering(
        *(
            place.endpoint(name, live=live, failsafe=failsafe(guard.nan(what), links=last).to_builtins())
            for name, (what, _) in stands.items()
        )
    )
    ann, ben, cem = {"person": "a", "x": 1.0}, {"person": "b", "x": -5.0}, {"person": "c", "x": 2.0}
    for name, (_, told) in stands.items():
        well, lost, other = service.predict(ann, ben, cem, endpoint=name).json["predictions"]
        assert (well["prediction"], other["prediction"]) == (2.0, 3.0)
        assert (lost["prediction"], "error" in lost) == (told, False), name
        assert lost["flags"][0]["guard"] == "nan"
        # A model that fails is another matter: no policy about NaN makes a number of it.
        well, failed = service.predict(ann, ben | {"x": -1.0}, endpoint=name).json["predictions"]
        assert (well["prediction"], failed["prediction"], failed["arm"]) == (2.0, 3.0, "constant")


def test_F18_a_version_that_fails_half_of_the_time_is_left_alone_and_comes_back_when_it_is_well(place: Any) -> None:
    policy = BreakerPolicy(failures=0.5, of=10, open_s=1.5, probes=4)
    declared = failsafe(links=(fallback.previous(), fallback.constant(-1.0)), breaker=policy)
    plain = place.endpoint(live=place.arm(2), fallback=place.linear(1), failsafe=failsafe(breaker=policy).to_builtins())
    chained = msgspec.structs.replace(plain, name="chained", failsafe=declared.to_builtins())
    alone = msgspec.structs.replace(
        plain, name="alone", fallback=None, live=place.arm(5),
        failsafe=failsafe(links=(fallback.constant(-1.0),), breaker=policy).to_builtins(),
    )  # fmt: skip
    service = place.answering(plain, chained, alone)
    for endpoint, instead, value in ((plain, "fallback", 11.0), (chained, "fallback", 11.0), (alone, "constant", -1.0)):

        def ask(x: float, name: str = endpoint.name) -> dict[str, Any]:
            reply = service.predict({"person": "p", "x": x}, endpoint=name)
            return reply.json["predictions"][0] if reply.status == 200 else {"status": reply.status}

        def broken(ask: Any = ask) -> bool:
            ask(-1.0)
            return ask(10.0).get("arm") != "live"

        place.until(broken, "the breaker to open")
        told = ask(10.0)
        assert (told["arm"], told["prediction"]) == (instead, pytest.approx(value))
        broken_now = {name: told["broken"] for name, told in service.status()["endpoints"].items()}
        assert broken_now == {"wage": [], "chained": [], "alone": []} | {endpoint.name: ["live"]}
        assert "perennial_breakers_open 1" in service.get("/metrics").body.decode()
        assert metric(service, "fallbacks_total", endpoint=endpoint.name, arm=instead) > 0
        place.until(lambda ask=ask: ask(10.0)["arm"] == "live", "the first probe")
        place.until(
            lambda ask=ask: (
                ask(10.0)["arm"] == "live" and "perennial_breakers_open 0" in service.get("/metrics").body.decode()
            ),
            "the breaker to close",
        )
        assert all(ask(10.0)["arm"] == "live" for _ in range(20))


def test_a_version_that_is_too_slow_opens_the_breaker_as_well(place: Any) -> None:
    policy = BreakerPolicy(failures=0.5, of=4, slow_ms=40.0, open_s=60.0, probes=2)
    place.desire(
        place.endpoint(
            live=place.arm(2, slow_s=0.08), fallback=place.linear(1), failsafe=failsafe(breaker=policy).to_builtins()
        )
    )
    service = place.serve()
    place.applied()
    place.until(
        lambda: service.predict({"person": "p", "x": 1.0}).json["predictions"][0]["arm"] == "fallback", "the fallback"
    )


def test_a_stopped_endpoint_says_why_within_a_second_and_the_others_go_on(place: Any) -> None:
    wage, other = place.endpoint(live=place.linear(1)), place.endpoint("other", live=place.linear(2))
    place.desire(wage, other)
    service = place.serve()
    place.applied()
    row = {"person": "p", "x": 1.0}
    answers: list[tuple[float, int]] = []
    ending = threading.Event()

    def ask() -> None:
        while not ending.is_set():
            status = service.predict(row).status
            answers.append((time.monotonic(), status))

    asking = threading.Thread(target=ask)
    asking.start()
    place.until(lambda: len(answers) > 20, "answers")
    stopped_at = time.monotonic()
    place.desire(msgspec.structs.replace(wage, stopped="the prices are wrong"), other)
    place.until(lambda: answers[-1][1] == 503, "the stop")
    place.until(lambda: len(answers) > 200 and time.monotonic() > stopped_at + 1.0, "a second")
    refused = service.predict(row)
    assert (refused.status, refused.headers["retry-after"]) == (503, "1")
    assert "the prices are wrong" in refused.json["message"]
    assert service.predict(row, endpoint="other").status == 200
    assert service.status()["endpoints"]["wage"]["stopped"] == "the prices are wrong"
    place.desire(wage, other)
    place.until(lambda: answers[-1][1] == 200, "the start")
    ending.set()
    asking.join()
    assert not [at for at, status in answers if status == 200 and stopped_at + 1.0 < at < answers[-1][0] - 30.0]
    order = [status for _, status in answers]
    first, last = order.index(503), len(order) - order[::-1].index(503)
    assert set(order[:first]) == set(order[last:]) == {200}
    assert set(order[first + 2 : last - 2]) <= {503}  # the two fronts hear of it one after the other


def test_a_spec_whose_guards_cannot_be_read_is_refused_as_a_whole(place: Any) -> None:
    place.desire(place.endpoint(live=place.linear(1)))
    service = place.serve()
    place.applied()
    place.desire(place.endpoint(live=place.linear(2), failsafe={"guards": [{"kind": "oracle"}]}))
    place.until(lambda: "guards cannot be read" in (service.status()["problem"] or ""), "the problem")
    assert service.predict({"person": "p", "x": 1.0}).json["predictions"][0]["version"] == 1
