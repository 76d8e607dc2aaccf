"""MLflow's calls about the datasets that runs used, and the models that they read and made."""

from __future__ import annotations

from typing import Any

import msgspec

from perennial.api.auth import Caller
from perennial.api.mlflow.endpoint import PREFIX, Endpoint, Pair
from perennial.api.mlflow.experiments import experiment_number
from perennial.errors import Invalid
from perennial.tracking.inputs import CONTEXT_TAG
from perennial.tracking.run import Input, ModelLink
from perennial.workspace import Services

__all__ = ["ENDPOINTS"]

MAX_EXPERIMENTS = 20


class _Dataset(msgspec.Struct, frozen=True, kw_only=True):
    name: str = ""
    digest: str = ""
    source_type: str = ""
    source: str = ""
    schema: str | None = None
    profile: str | None = None


class _DatasetInput(msgspec.Struct, frozen=True, kw_only=True):
    dataset: _Dataset | None = None
    tags: list[Pair] = []


class _Model(msgspec.Struct, frozen=True, kw_only=True):
    model_id: str
    step: int = 0


class _LogInputs(msgspec.Struct, frozen=True, kw_only=True):
    run_id: str
    datasets: list[_DatasetInput] = []
    models: list[_Model] = []


class _LogOutputs(msgspec.Struct, frozen=True, kw_only=True):
    run_id: str
    models: list[_Model]


class _Search(msgspec.Struct, frozen=True, kw_only=True):
    experiment_ids: list[str] = []


def _log_inputs(ws: Services, asked: _LogInputs, caller: Caller) -> Any:
    used = [_input(number, given) for number, given in enumerate(asked.datasets)]
    models = [ModelLink(model=model.model_id, role="input", step=model.step) for model in asked.models]
    ws.runs.log_inputs(run_id=asked.run_id, datasets=used, models=models)
    return {}


def _input(number: int, given: _DatasetInput) -> Input:
    dataset, where = given.dataset, f"datasets[{number}].dataset"
    if dataset is None:
        raise Invalid(f"Missing value for required parameter '{where}'.")
    for name in ("name", "digest", "source_type", "source"):
        if not getattr(dataset, name):
            raise Invalid(f"Missing value for required parameter '{where}.{name}'.")
    if len(dataset.digest) > 36:
        raise Invalid(f"'{where}.digest' exceeds the maximum length of 36 characters")
    for place, tag in enumerate(given.tags):
        if not tag.key:
            raise Invalid(f"Missing value for required parameter 'datasets[{number}].tags[{place}].key'.")
    tags = {tag.key: tag.value for tag in given.tags}
    return Input(
        name=dataset.name,
        digest=dataset.digest,
        source_type=dataset.source_type,
        source=dataset.source,
        schema=dataset.schema,
        profile=dataset.profile,
        context=tags.get(CONTEXT_TAG, ""),
        tags=tags,
    )


def _log_outputs(ws: Services, asked: _LogOutputs, caller: Caller) -> Any:
    models = [ModelLink(model=model.model_id, role="output", step=model.step) for model in asked.models]
    ws.runs.log_inputs(run_id=asked.run_id, datasets=[], models=models)
    return {}


def _search(ws: Services, asked: _Search, caller: Caller) -> Any:
    if not asked.experiment_ids:
        raise Invalid("SearchDatasets request must specify at least one experiment_id.")
    if len(asked.experiment_ids) > MAX_EXPERIMENTS:
        raise Invalid(
            f"SearchDatasets request cannot specify more than {MAX_EXPERIMENTS} experiment_ids. "
            f"Received {len(asked.experiment_ids)} experiment_ids."
        )
    found = ws.runs.datasets(experiments=[experiment_number(text) for text in asked.experiment_ids])
    return {
        "dataset_summaries": [
            {
                "experiment_id": str(summary.experiment),
                "name": summary.name,
                "digest": summary.digest,
                "context": summary.context or None,
            }
            for summary in found
        ]
    }


ENDPOINTS = (
    Endpoint("POST", PREFIX + "runs/log-inputs", "track", _LogInputs, _log_inputs, "Tell which data a run used."),
    Endpoint("POST", PREFIX + "runs/outputs", "track", _LogOutputs, _log_outputs, "Tell which models a run made."),
    Endpoint("POST", PREFIX + "experiments/search-datasets", "read", _Search, _search, "Datasets that runs used."),
)
