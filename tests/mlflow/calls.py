"""Every call of the unmodified MLflow client that Perennial stands for, and what a server answers to each.

    python calls.py http://127.0.0.1:5000 answers.json [SECTION ...]

Run by an interpreter that has MLflow, against an empty server. Exits with 1 when a call that must work was refused.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path

SECTIONS = (
    "experiments",
    "runs",
    "searching",
    "metrics",
    "inputs",
    "logged_models",
    "artifacts",
    "registry",
    "training",
    "wire",
)
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # an answer that asks for a retry is an answer
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "MPLBACKEND": "agg",
    # Which packages a model needs is found out by loading it in a new process: it is ended at once, the defaults do.
    "MLFLOW_REQUIREMENTS_INFERENCE_TIMEOUT": "0",
}


def main(uri: str, out: str, *sections: str) -> int:
    os.environ.update(QUIET, MLFLOW_TRACKING_URI=uri)
    sys.path.insert(0, str(Path(__file__).with_name("client")))
    import mlflow
    from recorder import Recorder

    mlflow.set_tracking_uri(uri)
    rec = Recorder(uri)
    whole = [rec.section(name, import_module(name).run) for name in sections or SECTIONS]
    Path(out).write_text(rec.document())
    print(f"mlflow {mlflow.__version__}: {len(rec.entries)} calls, {whole.count(False)} sections broken off")
    return 0 if all(whole) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
