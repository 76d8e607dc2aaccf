"""The MLmodel file, by which MLflow's own loader and tools recognise a package.

It is YAML in its JSON form, so that the same model has the same bytes. MLflow gives the frame that its user passes to
`perennial.models.pyfunc`, which answers with the package's predictor.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping

from perennial.models.signature import Field, Signature
from perennial.types import JSON

__all__ = ["mlmodel"]

_MLFLOW_TYPES = {
    "float64": "double",
    "int64": "long",
    "bool": "boolean",
    "string": "string",
    "binary": "binary",
    "datetime": "datetime",
    "date": "datetime",
}


def mlmodel(signature: Signature, *, kind: str, blocks: Mapping[str, JSON] | None = None) -> bytes:
    """The file's bytes; `blocks` lets MLflow's own loader of the toolkit find the model, where there is one."""
    body = {
        "flavors": {
            **(blocks or {}),
            "perennial": {"kind": kind, "signature": "signature.json"},
            "python_function": {
                "loader_module": "perennial.models.pyfunc",
                "python_version": platform.python_version(),
            },
        },
        "signature": {
            "inputs": json.dumps([_column(field) for field in signature.inputs]),
            "outputs": json.dumps([_column(signature.output)]),
            "params": None,
        },
        "saved_input_example_info": {
            "artifact_path": "input_example.json",
            "type": "dataframe",
            "pandas_orient": "split",
        },
    }
    return json.dumps(body, indent=2, sort_keys=True).encode()


def _column(field: Field) -> dict[str, object]:
    if field.shape is not None:
        kind: dict[str, object] = {"type": "double"}
        for _ in field.shape:
            kind = {"type": "array", "items": kind}
        return {**kind, "name": field.name, "required": field.required and not field.nullable}
    return {"type": _MLFLOW_TYPES[field.type], "name": field.name, "required": field.required and not field.nullable}
