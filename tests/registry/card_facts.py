"""A version with everything recorded about it, made by hand: what the card is tested with."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec

from perennial.models.facts.compilation import Compilation, Proof, Timing
from perennial.models.facts.evaluation import (
    Calibration,
    CalibrationBin,
    Comparison,
    Curve,
    Estimate,
    Evaluation,
    Fairness,
    GroupRow,
    LeftOut,
    Robustness,
    Slice,
)
from perennial.models.facts.explanation import Effect, Explanation, Importance
from perennial.models.facts.verdict import Verdict
from perennial.models.signature import Field, Signature
from perennial.registry.versions import Models, ModelVersion
from perennial.store.objects import ObjectStore
from perennial.types import canonical_json

__all__ = ["EVALUATION", "EXPLANATION", "VERDICTS", "estimate", "package", "registered"]


def estimate(value: float, half: float | None = 0.01, rows: int = 9769) -> Estimate:
    if half is None:
        return Estimate(value=value, low=None, high=None, rows=rows)
    return Estimate(value=value, low=round(value - half, 6), high=round(value + half, 6), rows=rows)


def _slices() -> list[Slice]:
    by_sex = [("Female", 3269, 0.925, 0.008), ("Male", 6500, 0.842, 0.009)]
    by_work = [
        ("Private", 6768, 0.879, 0.007),
        ("Self-emp-not-inc", 764, 0.824, 0.027),
        ("Local-gov", 627, 0.857, 0.028),
        ("(missing)", 559, 0.921, 0.022),
        ("Without-pay", 6, 0.833, None),
    ]
    found = [
        Slice(where={column: value}, rows=rows, value=estimate(accuracy, half, rows), rest=None, found_by="column")
        for column, rows_of in (("sex", by_sex), ("workclass", by_work))
        for value, rows, accuracy, half in rows_of
    ]
    found.append(
        Slice(
            where={"marital_status": "Married-civ-spouse", "education": "HS-grad"},
            rows=1342,
            value=estimate(0.741, 0.023, 671),
            rest=0.893,
            found_by="search",
            score=1.34,
            p_value=3.1e-12,
            is_confirmed=True,
        )
    )
    found.append(
        Slice(
            where={"occupation": "Farming-fishing", "hours_per_week": "45 to 99"},
            rows=118,
            value=estimate(0.847, 0.09, 59),
            rest=0.872,
            found_by="search",
            score=0.21,
            p_value=0.31,
            is_confirmed=False,
        )
    )
    return found


EVALUATION = Evaluation(
    task="classification",
    metric="accuracy",
    split="9,769 of 48,842 rows, drawn at random, stratified by the target",
    test={"accuracy": estimate(0.8712, 0.0066), "f1_macro": estimate(0.8146), "log_loss": estimate(0.2811, 0.009)},
    train={"accuracy": estimate(0.8874, 0.0031, 39073), "log_loss": estimate(0.2513, 0.004, 39073)},
    baseline={"accuracy": estimate(0.7607, 0.0084)},
    saved_over_baseline={},
    overfits=None,
    answers=None,
    baselines={
        "constant": {"accuracy": estimate(0.7607, 0.0084), "log_loss": estimate(0.5503, 0.008)},
        "linear": {"accuracy": estimate(0.8506, 0.007), "log_loss": estimate(0.3197, 0.009)},
    },
    calibration=[
        Calibration(
            of=">50K",
            bins=[
                CalibrationBin(
                    low=k / 10,
                    high=(k + 1) / 10,
                    rows=round(4000 * math.exp(-k / 2)) + 60,
                    predicted=k / 10 + 0.05,
                    observed=min(1.0, k / 10 + 0.05 + 0.03 * math.sin(k)),
                    observed_low=max(0.0, k / 10 + 0.02 + 0.03 * math.sin(k)),
                    observed_high=min(1.0, k / 10 + 0.08 + 0.03 * math.sin(k)),
                )
                for k in range(10)
            ],
            error=0.0113,
            parts={"reliability": 0.0006, "resolution": 0.0921, "uncertainty": 0.182},
        )
    ],
    slices=_slices(),
    curves=[
        Curve(
            kind="learning",
            name="unseen rows",
            x=[2000.0, 5000.0, 10000.0, 20000.0, 39073.0],
            y=[0.842, 0.856, 0.863, 0.868, 0.8712],
            low=[0.835, 0.849, 0.857, 0.862, 0.865],
            high=[0.849, 0.863, 0.869, 0.874, 0.878],
        ),
        Curve(
            kind="learning",
            name="its own rows",
            x=[2000.0, 5000.0, 10000.0, 20000.0, 39073.0],
            y=[0.971, 0.934, 0.911, 0.896, 0.8874],
        ),
        Curve(
            kind="training",
            name="log_loss",
            x=[float(k) for k in range(1, 101)],
            y=[0.28 + 0.27 * math.exp(-k / 15) for k in range(1, 101)],
        ),
    ],
    fairness=[
        Fairness(
            column="sex",
            groups=[
                GroupRow(
                    group="Female",
                    rows=3269,
                    values={"accuracy": estimate(0.925, 0.008), "selection_rate": estimate(0.081, 0.009)},
                    is_judged=True,
                ),
                GroupRow(
                    group="Male",
                    rows=6500,
                    values={"accuracy": estimate(0.842, 0.009), "selection_rate": estimate(0.262, 0.011)},
                    is_judged=True,
                ),
                GroupRow(group="(missing)", rows=12, values={"accuracy": estimate(0.75, None, 12)}, is_judged=False),
            ],
            ratios={
                "selection_rate_ratio": estimate(0.309, 0.036),
                "equalised_odds_difference": estimate(0.097, 0.031),
            },
            worst="Male",
        )
    ],
    robustness=[
        Robustness(disturbance="noise", level=0.1, value=estimate(0.868), changed=0.021),
        Robustness(disturbance="noise", level=0.5, value=estimate(0.851), changed=0.083),
        Robustness(disturbance="missing values", level=0.1, value=estimate(0.859), changed=0.047),
    ],
    left_out=[
        LeftOut(column="region", group="south", value=estimate(0.861, 0.012, 2800), inside=0.868),
        LeftOut(column="region", group="west", value=estimate(0.834, 0.014, 2100), inside=0.866),
    ],
    comparisons=[
        Comparison(
            against="income@1",
            metric="accuracy",
            method="paired bootstrap",
            decision="better",
            effect=0.0141,
            low=0.0082,
            high=0.0199,
            margin=0.0,
            rows=9769,
            says="better than version 1",
        )
    ],
    says=[
        "It is right less often for 1,342 rows with marital_status Married-civ-spouse: 0.741, against 0.893 elsewhere.",
    ],
)

EXPLANATION = Explanation(
    importance=[
        Importance(features=["capital_gain"], rise=0.0813, low=0.0772, high=0.0861),
        Importance(features=["marital_status", "relationship"], rise=0.0702, low=0.066, high=0.0742),
        Importance(features=["education", "education_num"], rise=0.0411, low=0.0382, high=0.0443),
        Importance(features=["age"], rise=0.0301, low=0.0276, high=0.0325),
        Importance(features=["native_country"], rise=-0.0004, low=-0.0011, high=0.0003),
    ],
    effects=[
        Effect(
            feature="age",
            kind="ale",
            of=">50K",
            grid=[17.0, 22.0, 26.0, 30.0, 33.0, 37.0, 41.0, 45.0, 50.0, 58.0, 90.0],
            effect=[-0.16, -0.15, -0.11, -0.05, -0.01, 0.03, 0.06, 0.08, 0.09, 0.07, 0.04],
            rows=[980, 970, 981, 940, 1012, 1001, 977, 966, 990, 952],
        ),
        Effect(
            feature="workclass",
            kind="pdp",
            of=">50K",
            grid=["Private", "Self-emp-inc", "Federal-gov", "Without-pay"],
            effect=[-0.002, 0.031, 0.024, -0.061],
            rows=[6768, 340, 290, 6],
        ),
    ],
    method="tree",
    of=">50K",
    base=-2.31,
    mean_abs={"capital_gain": 0.61, "age": 0.74, "marital_status": 0.98, "education_num": 0.55},
    rows=1000,
    left_out=["effects of 3 features: the time for explaining was used up"],
)

VERDICTS = [
    Verdict(
        kind="metric",
        sentence="accuracy is at least 0.85",
        passed=True,
        says="accuracy is 0.8712 (95% interval 0.8646 to 0.8778), asked for at least 0.85",
        evidence={"estimate": 0.8712, "low": 0.8646, "high": 0.8778, "n": 9769},
    ),
    Verdict(
        kind="fairness",
        sentence="women are chosen at least 0.8 times as often as men",
        passed=False,
        says="selection rate ratio by sex is 0.309 (0.273 to 0.345), asked for at least 0.8",
        evidence={
            "ratio": 0.309,
            "groups": [
                {"group": "Female", "rows": 3269, "selection_rate": 0.081},
                {"group": "Male", "rows": 6500, "selection_rate": 0.262},
            ],
        },
    ),
    Verdict(
        kind="better_than_live",
        sentence="better than what is live",
        passed=None,
        says="there is no live version to compare with",
    ),
]

SIGNATURE = Signature(
    inputs=[
        Field(name="age", type="int64"),
        Field(name="workclass", type="string", nullable=True, categories=["Federal-gov", "Private", "Without-pay"]),
        Field(name="row", type="int64", required=False),
    ],
    columns=[Field(name="age", type="int64")],
    output=Field(name="income", type="string"),
    task="classification",
    classes=["<=50K", ">50K"],
)

COMPILATION = Compilation(
    form="treelite",
    reason="equal on 9769 test rows and 4000 boundary rows, and faster",
    tried={"onnx-float32": "skl2onnx knows no HistGradientBoostingClassifier of scikit-learn 1.9"},
    main="compiled.tl",
    proof=Proof(rows=9769, boundary_rows=4000, labels=0, difference=3.1e-8, tolerance=1e-6),
    timing=Timing(
        native_1_us=2412.0, compiled_1_us=18.4, native_1000_us=6120.0, compiled_1000_us=912.0, columns_us=31.0
    ),
)


def package(objects: ObjectStore, **files: bytes) -> str:
    """A package whose files are of the real forms, with a model that is none."""
    held = {
        "signature.json": msgspec.json.encode(SIGNATURE),
        "environment.txt": b"python 3.11.9\nplatform Linux x86_64\nnumpy==2.4.6\nscikit-learn==1.9.1\n",
        "reference.json": b'{"format":1,"rows":39073}',
        "compiled.json": msgspec.json.encode(msgspec.structs.replace(COMPILATION, timing=None)),
        "model.pkl": b"no model",
    } | files
    digests: dict[str, Any] = {path: [objects.put(data), len(data)] for path, data in held.items()}
    manifest = {"format": 1, "kind": "sklearn", "saved_as": "skops", "runs_code": False, "files": digests}
    return objects.put(canonical_json(manifest))


def registered(
    models: Models, objects: ObjectStore, *, name: str = "income", evaluation: Evaluation = EVALUATION, **more: Any
) -> ModelVersion:
    """A version of which everything is recorded."""
    explained = objects.put(msgspec.json.encode(EXPLANATION))
    report = msgspec.to_builtins(COMPILATION)
    whole = msgspec.structs.replace(evaluation, explanation=explained, compilation=report)
    given = {
        "package": package(objects),
        "origin": "loop",
        "evaluation": objects.put(msgspec.json.encode(whole)),
        "declaration": objects.put(json.dumps({"name": name, "task": "classification"}).encode()),
        "verdicts": VERDICTS,
        "trained_until": 1_699_000_000_000_000,
        "reason": "run by hand",
    } | more
    return models.register(name=name, **given)
