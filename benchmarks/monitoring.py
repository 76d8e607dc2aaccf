"""Monitoring beside Evidently and NannyML: drift of 25 columns, performance without labels, and what they publish.

Each time is of a process of its own, from the tables in memory to the verdict: bins, both sides, all distances. The
published values are those of NannyML's bundled car-loan data, which its environment writes to a file; they are checked,
not timed. Then the windows with bugs of `broken_windows.py`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import broken_windows
from measure import Figure, Report, say
from peers import SILENT, python_of, version_of

LIMIT_S = 240.0  # for one measurement of a peer
ENVIRONMENT = {**os.environ, **SILENT, "NML_DISABLE_USAGE_LOGGING": "1"}

SIDES = """
import json, resource, sys, time
import numpy as np
def side(seed, rows, shift):
    draw = np.random.default_rng(seed)
    numbers = {f"n{i}": draw.normal(shift if i < 3 else 0, 1, rows) for i in range(20)}
    texts = {f"c{i}": draw.choice(np.array(list("abcdefgh"), dtype=object), rows) for i in range(5)}
    return {**numbers, **texts}
rows = int(sys.argv[1])
def told(wall, cpu):
    print(json.dumps({"wall": wall, "cpu": cpu, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""
OURS = (
    SIDES
    + """
import polars as pl
from perennial.monitor.profiling.profiles import Profiler, compare
from perennial.monitor.sample import Sample
def sample(side):
    return Sample(inputs=pl.DataFrame({name: pl.Series(values.tolist() if values.dtype == object else values)
        for name, values in side.items()}), task="classification")
one, other = sample(side(0, rows, 0.0)), sample(side(1, rows, 0.3))
def work():
    profiler = Profiler.of_reference(one)
    return compare(profiler, profiler.profile(one), profiler.profile(other))
work()
for _ in range(int(sys.argv[2])):
    began, spent = time.perf_counter(), time.process_time()
    found = work()
    wall, cpu = time.perf_counter() - began, time.process_time() - spent
    assert {column.column for column in found.shifted} == {"n0", "n1", "n2"}
    told(wall, cpu)
"""
)
EVIDENTLY = (
    SIDES
    + """
import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset
one, other = pd.DataFrame(side(0, rows, 0.0)), pd.DataFrame(side(1, rows, 0.3))
kinds = DataDefinition(numerical_columns=[f"n{i}" for i in range(20)], categorical_columns=[f"c{i}" for i in range(5)])
began, spent = time.perf_counter(), time.process_time()
Report([DataDriftPreset()]).run(Dataset.from_pandas(other, kinds), Dataset.from_pandas(one, kinds)).dict()
told(time.perf_counter() - began, time.process_time() - spent)
"""
)
NANNYML = (
    SIDES
    + """
import pandas as pd
import nannyml as nml
one, other = pd.DataFrame(side(0, rows, 0.0)), pd.DataFrame(side(1, rows, 0.3))
began, spent = time.perf_counter(), time.process_time()
calculator = nml.UnivariateDriftCalculator(column_names=list(one.columns), chunk_number=10,
    continuous_methods=["kolmogorov_smirnov", "jensen_shannon", "wasserstein"],
    categorical_methods=["jensen_shannon", "l_infinity"])
calculator.fit(one)
calculator.calculate(other).to_df()
told(time.perf_counter() - began, time.process_time() - spent)
"""
)
SCORES = """
import json, sys, time
import numpy as np
rows = int(sys.argv[1])
def side(seed):
    draw = np.random.default_rng(seed)
    score = draw.beta(2, 2, rows)
    return score, (score > 0.5).astype(int), (draw.random(rows) < score).astype(int)
"""
OUR_CBPE = (
    SCORES
    + """
from perennial import stats
from perennial.stats.cbpe import fit_confidence
(score, answer, truth), (now, answered, _) = side(1), side(2)
for _ in range(int(sys.argv[2])):
    began, spent = time.perf_counter(), time.process_time()
    confidence = fit_confidence(np.column_stack([1 - score, score]), truth)
    told = [confidence.sums(np.column_stack([1 - part, part]), answers).metrics()
        for part, answers in zip(np.array_split(now, 10), np.array_split(answered, 10))]
    wall, cpu = time.perf_counter() - began, time.process_time() - spent
    assert all(abs(one["roc_auc"] - told[0]["roc_auc"]) < 0.01 for one in told)
    print(json.dumps({"wall": wall, "cpu": cpu}))
"""
)
NANNYML_CBPE = (
    SCORES
    + """
import pandas as pd
import nannyml as nml
(score, answer, truth), (now, answered, _) = side(1), side(2)
one = pd.DataFrame({"p": score, "yp": answer, "y": truth})
other = pd.DataFrame({"p": now, "yp": answered})
began, spent = time.perf_counter(), time.process_time()
estimator = nml.CBPE(problem_type="classification_binary", y_pred_proba="p", y_pred="yp", y_true="y",
    metrics=["roc_auc", "f1"], chunk_number=10)
estimator.fit(one)
estimator.estimate(other).to_df()
print(json.dumps({"wall": time.perf_counter() - began, "cpu": time.process_time() - spent}))
"""
)
CAR_LOAN = """
import sys
import nannyml
reference, analysis, targets = nannyml.load_synthetic_car_loan_dataset()
reference.to_parquet(sys.argv[1] + "/car_loan_reference.parquet")
analysis.to_parquet(sys.argv[1] + "/car_loan_analysis.parquet")
"""
FEATURES = ["car_value", "salary_range", "debt_to_income_ratio", "loan_length", "repaid_loan_on_prev_car"]
FEATURES += ["size_of_downpayment", "driver_tenure"]
CHUNK = 5_000
# What NannyML's documentation prints for the ten chunks of 5,000 rows.
CBPE_AUC = [0.970744, 0.971011, 0.971407, 0.971091, 0.971123, 0.961090, 0.961825, 0.961073, 0.962533, 0.961316]
PCA_ERRORS = [1.1415, 1.1306, 1.1389, 1.1450, 1.1376, 1.2492, 1.2431, 1.2581, 1.2282, 1.2599]
DOMAIN_AUC = [(0.4908, 0.5034)] * 5 + [(0.9133, 0.9167)] * 5


def measure(report: Report, folder: Path, *, quick: bool) -> None:
    evidently = python_of("evidently", "evidently>=0.7,<0.8", "pandas<3")
    pins = ("numpy<2.1", "pandas<2.3", "scikit-learn<1.6", "scipy<1.15", "category-encoders<2.7", "statsmodels<0.15")
    nannyml = python_of("nannyml", "nannyml==0.13.1", *pins)
    rounds = 3 if quick else 7
    for number, aim in ((100_000, "0.06 s"), (1_000_000, "0.4 s")):
        what = f"drift of 25 columns, {number:,} rows a side: bins, both sides, six distances and a test each"
        say(what)
        found = {"Perennial": _ran(sys.executable, OURS, number, rounds)}
        for name, python, code in (("evidently", evidently, EVIDENTLY), ("nannyml", nannyml, NANNYML)):
            if python is not None and not (quick and number > 100_000):
                found[f"{name} {version_of(python, name)}"] = _ran(python, code, number)
        _add(report, what, found, aim)
        peak = max(one["peak"] for one in found["Perennial"])
        report.add(f"peak memory, both tables included, {number:,} rows a side", Figure("Perennial", [peak], "MB"))
    say("performance without labels, 1,000,000 rows")
    found = {"Perennial": _ran(sys.executable, OUR_CBPE, 1_000_000, rounds)}
    if nannyml is not None and not quick:
        found[f"nannyml {version_of(nannyml, 'nannyml')}"] = _ran(nannyml, NANNYML_CBPE, 1_000_000)
    _add(report, "CBPE: calibrate on 1,000,000 rows, estimate 1,000,000 in ten chunks", found, "0.5 s")
    if nannyml is not None:
        subprocess.run([str(nannyml), "-c", CAR_LOAN, str(folder)], env=ENVIRONMENT, check=True, capture_output=True)
        report.text(published(folder))
    report.text(broken_windows.table(20 if quick else 100))


def published(folder: Path) -> str:
    """Car loan: our values beside those that NannyML prints, chunk by chunk."""
    import numpy as np
    import polars as pl

    from perennial.monitor.multivariate.domain import domain_scores
    from perennial.monitor.multivariate.reconstruction import fit_reconstruction
    from perennial.stats.cbpe import fit_confidence
    from perennial.stats.delong import auc

    reference, analysis = (pl.read_parquet(folder / f"car_loan_{side}.parquet") for side in ("reference", "analysis"))

    def probs(rows: pl.DataFrame) -> np.ndarray:
        return np.column_stack([1.0 - rows["y_pred_proba"].to_numpy(), rows["y_pred_proba"].to_numpy()])

    confidence = fit_confidence(probs(reference), reference["repaid"].cast(pl.Int64).to_numpy())
    fitted = fit_reconstruction(reference.select(FEATURES), seed=0)
    assert fitted is not None
    lines = [
        "| car loan, rows | CBPE ROC AUC | NannyML | PCA error | NannyML | domain classifier AUC | NannyML |",
        "|---|---|---|---|---|---|---|",
    ]
    worst = 0.0
    for index in range(10):
        rows = analysis[index * CHUNK : (index + 1) * CHUNK]
        estimated = confidence.sums(probs(rows), rows["y_pred"].cast(pl.Int64).to_numpy()).metrics()["roc_auc"]
        worst = max(worst, abs(estimated - CBPE_AUC[index]))
        error = fitted.sums(rows.select(FEATURES)).mean
        scores = domain_scores(reference.select(FEATURES), rows.select(FEATURES), importance=False)
        tells = auc(
            np.concatenate([np.zeros(len(scores.reference)), np.ones(len(scores.current))]),
            np.concatenate([scores.reference, scores.current]),
        )
        low, high = DOMAIN_AUC[index]
        lines.append(
            f"| {index * CHUNK:,} to {(index + 1) * CHUNK - 1:,} | {estimated:.6f} | {CBPE_AUC[index]:.6f} | "
            f"{error:.4f} | {PCA_ERRORS[index]:.4f} | {tells.estimate:.4f} | {low}–{high} |"
        )
    lines.append(f"\nLargest difference of a CBPE value: {worst:.1e} (goal 1e-5).")
    return "\n".join(lines)


def _add(report: Report, what: str, found: dict[str, list[dict[str, float]]], aim: str) -> None:
    """Wall and processor time of each; who did not finish is told."""
    done = {who: records for who, records in found.items() if records}
    for key, says in (("wall", what), ("cpu", f"{what}: processor time of all threads")):
        ours, *others = (Figure(who, [one[key] for one in records], "s") for who, records in done.items())
        report.add(says, ours, *others, aim=aim if key == "wall" else "")
    for who in found.keys() - done.keys():
        report.text(f"{who} did not finish within {LIMIT_S:.0f} s: {what}.")


def _ran(python: Path | str, code: str, *words: int) -> list[dict[str, float]]:
    """One record for each line; none when it took too long."""
    command = [str(python), "-c", code, *(str(word) for word in words)]
    try:
        done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        return []
    if done.returncode:
        raise SystemExit(f"{command[0]}: {done.stderr[-2000:]}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
