"""The MLmodel file, by which MLflow's own loader and tools recognise a package.

It is YAML in its JSON form, so that the same model has the same bytes. MLflow gives the frame that its user passes to
`perennial.models.pyfunc`, which answers with the package's predictor.
"""

from __future__ import annotations

import json
import platform

from perennial.models.signature import Field, Signature

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


def mlmodel(signature: Signature, *, kind: str) -> bytes:
    """The file's bytes."""
    body = {
        "flavors": {
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
    }
    return json.dumps(body, indent=2, sort_keys=True).encode()


def _column(field: Field) -> dict[str, object]:
    return {"type": _MLFLOW_TYPES[field.type], "name": field.name, "required": field.required and not field.nullable}
