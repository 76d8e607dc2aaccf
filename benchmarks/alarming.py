"""What Evidently and NannyML, with their defaults, say of simulated days, in environments of their own.

One process a stream: it makes the same days as ours from `simulated.py` and prints one line of JSON for each day.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from peers import SILENT, python_of
from simulated import Endpoint

HERE = Path(__file__).parent
ENVIRONMENT = {
    **os.environ,
    **SILENT,
    "NML_DISABLE_USAGE_LOGGING": "1",
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": str(HERE),
}

FRAMES = """
import json, sys, warnings
warnings.filterwarnings("ignore")
import numpy as np, pandas as pd
from simulated import BEFORE, Endpoint
about = json.loads(sys.argv[1])
endpoint = Endpoint(about["seed"], about["prior"], tuple(about["traffic"]))
def frame(day, number, days=1):
    made = pd.DataFrame(day.columns)
    made["prob"], made["prediction"], made["truth"] = day.prob, (day.prob > 0.5).astype(int), day.truth.astype(int)
    made["at"] = pd.Timestamp("2026-01-01") + pd.to_timedelta(number + np.arange(day.rows) * days / day.rows, unit="D")
    return made
days = range(about["first"], about["first"] + about["days"])
day = lambda number, change: frame(endpoint.day(number, change, about["first"]), number)
numbers, texts = [f"n{i}" for i in range(20)], [f"t{i}" for i in range(5)]
"""
EVIDENTLY = (
    FRAMES
    + """
from evidently import BinaryClassification, DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset, DataSummaryPreset
kinds = DataDefinition(numerical_columns=[*numbers, "prob"], categorical_columns=[*texts, "prediction", "truth"])
reference = Dataset.from_pandas(frame(endpoint.reference(), -30, 30).drop(columns="at"), kinds)
def failed(tests):
    return [one["metric_config"]["params"].get("column", "") for one in tests if one["status"] == "FAIL"]
for change in about["changes"]:
    for number in days:
        current = Dataset.from_pandas(day(number, change).drop(columns="at"), kinds)
        preset = DataSummaryPreset() if about["summary"] else DataDriftPreset()
        found = failed(Report([preset], include_tests=True).run(current, reference).dict()["tests"])
        told = {"DataDriftPreset, any column": any(found), "DataDriftPreset, half of the columns": "" in found}
        if about["summary"]:
            told = {"DataSummaryPreset, any test": bool(found)}
        print(json.dumps({"change": change, "day": number - about["first"], "told": told}), flush=True)
        if about["until_alarm"] and any(told.values()):
            break
"""
)
NANNYML = (
    FRAMES
    + """
import nannyml as nml
# Its thresholds are those of reference chunks, so these are days as large as the days to come: a month of them.
before = pd.concat([frame(endpoint.day(BEFORE + number), number - 30) for number in range(30)], ignore_index=True)
columns = [*numbers, *texts]
chunks = {"timestamp_column_name": "at", "chunk_period": "D"}
model = {"problem_type": "classification_binary", "y_pred_proba": "prob", "y_pred": "prediction", "y_true": "truth"}
measures = {"metrics": ["roc_auc", "f1", "accuracy"], **model, **chunks}
drift = {"column_names": [*columns, "prediction", "prob"], "treat_as_categorical": ["prediction"], **chunks}
fitted = {
    "univariate drift, any column": nml.UnivariateDriftCalculator(**drift).fit(before).calculate,
    "multivariate drift (reconstruction)":
        nml.DataReconstructionDriftCalculator(column_names=columns, **chunks).fit(before).calculate,
    "CBPE": nml.CBPE(**measures).fit(before).estimate,
    "realised performance": nml.PerformanceCalculator(**measures).fit(before).calculate,
}
for change in about["changes"]:
    after = pd.concat([day(number, change) for number in days], ignore_index=True)
    told = {}
    for name, judge in fitted.items():
        table = judge(after).filter(period="analysis").to_df()
        alerts = table[[at for at in table.columns if at[-1] == "alert"]]
        told[name] = alerts.fillna(False).astype(bool).any(axis=1).tolist()
    for number, alarms in enumerate(zip(*told.values(), strict=True)):
        print(json.dumps({"change": change, "day": number, "told": dict(zip(told, map(bool, alarms)))}), flush=True)
"""
)


def peer_days(
    name: str,
    endpoint: Endpoint,
    days: int,
    *,
    first: int = 0,
    changes: Sequence[str] = ("",),
    summary: bool = False,
    until_alarm: bool = False,
) -> Iterator[dict[str, Any]] | None:
    """Day by day, whether the peer alarms, by kind; None where it cannot be installed.

    Args:
        days: How many, for each change.
        first: Day of the first, from which on the change holds.
        summary: Ask Evidently for its summary of data instead of drift.
        until_alarm: Evidently, which takes seconds a day, goes on to the next change at the first alarm.
    """
    if name == "evidently":
        python = python_of("evidently", "evidently>=0.7,<0.8", "pandas<3")
    else:
        pins = (
            "numpy<2.1",
            "pandas<2.3",
            "scikit-learn<1.6",
            "scipy<1.15",
            "category-encoders<2.7",
            "statsmodels<0.15",
        )
        python = python_of("nannyml", "nannyml==0.13.1", *pins)
    about = {"seed": endpoint.seed, "prior": endpoint.prior, "traffic": endpoint.traffic}
    about |= {"days": days, "first": first, "changes": list(changes), "summary": summary, "until_alarm": until_alarm}
    return None if python is None else _lines(python, EVIDENTLY if name == "evidently" else NANNYML, about)


def _lines(python: Path, code: str, about: dict[str, object]) -> Iterator[dict[str, Any]]:
    command = [str(python), "-c", code, json.dumps(about)]
    with (
        TemporaryFile("w+", encoding="utf-8") as errors,
        subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True, stderr=errors) as process,
    ):
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if line.startswith("{"):
                    yield json.loads(line)
            if process.wait():
                errors.seek(0)
                raise RuntimeError(errors.read()[-2_000:])
        finally:
            process.kill()
