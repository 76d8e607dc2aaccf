"""What our server refuses on purpose, as a client sees it: `python refusals.py http://127.0.0.1:5000 answers.json`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def main(uri: str, out: str) -> None:
    os.environ.update(MLFLOW_DISABLE_TELEMETRY="true", DO_NOT_TRACK="true", MLFLOW_HTTP_REQUEST_MAX_RETRIES="0")
    from mlflow import MlflowClient

    client = MlflowClient(uri, uri)
    exp = client.create_experiment("refusals")
    run = client.create_run(exp, run_name="logged without a token").info.run_id
    client.log_param(run, "a", "b")
    client.log_text(run, "weights", "model/weights.txt")
    client.create_registered_model("mine")
    client.create_model_version("mine", f"runs:/{run}/model", run_id=run)
    client.set_registered_model_alias("mine", "best", "1")
    client.transition_model_version_stage("mine", "1", "Staging")
    told = {
        "alias live": _answer(client.set_registered_model_alias, "mine", "live", "1"),
        "alias candidate": _answer(client.set_registered_model_alias, "mine", "candidate", "1"),
        "no alias live": _answer(client.delete_registered_model_alias, "mine", "live"),
        "stage Production": _answer(client.transition_model_version_stage, "mine", "1", "Production"),
        "state": client.get_model_version("mine", "1").tags,
        "rename experiment": _answer(client.rename_experiment, exp, "other"),
        "delete run": _answer(client.delete_run, run),
        "delete experiment": _answer(client.delete_experiment, exp),
        "delete version": _answer(client.delete_model_version, "mine", "1"),
        "delete model": _answer(client.delete_registered_model, "mine"),
        "traces": _answer(client.search_traces, experiment_ids=[exp]),
        "webhook": _answer(client.create_webhook, "w", "https://example.org", ["registered_model.created"]),
    }
    Path(out).write_text(json.dumps(told))


def _answer(call: Callable[..., Any], *arguments: Any, **named: Any) -> list[Any]:
    from mlflow.exceptions import MlflowException

    try:
        call(*arguments, **named)
    except MlflowException as error:
        return [error.error_code, error.message]
    return ["done", ""]


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
