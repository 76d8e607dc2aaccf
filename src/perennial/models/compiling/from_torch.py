"""A PyTorch network as an ONNX graph that takes the one matrix of the plan and gives probabilities or numbers.

What the scorer does around the network is part of the graph: columns by name are cut out of the matrix, a missing
category becomes the number of categories, logits become probabilities.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from perennial.models.compiling.graph import NotCompilable
from perennial.models.flavors.arrays import arrays_of, toolkit

if TYPE_CHECKING:
    import polars as pl

    from perennial.models.flavors.pytorch import TorchScorer

__all__ = ["to_onnx"]


def to_onnx(model: Any, x: pl.DataFrame, scorer: TorchScorer) -> bytes:
    """The graph's bytes.

    Args:
        model: A module or an exported program; the scorer's own is taken.
        x: A few rows as the model's columns; none is kept.
        scorer: How the network is asked, and what its output is.

    Raises:
        NotCompilable: The network answers whole numbers, is given tensors beside other columns, or is no graph. What
            PyTorch's exporter raises is passed on.
    """
    del model
    torch = toolkit("torch", "PyTorch", "torch")
    answers, mode = scorer.options["answers"], scorer.options["mode"]
    if answers == "codes":
        raise NotCompilable("the network answers labels as numbers")
    if scorer.options["dtype"] != "float32":
        raise NotCompilable(f"the network counts in {scorer.options['dtype']}")
    if mode == "mapping" and any(field.shape is not None for field in scorer.signature.columns):
        raise NotCompilable("the network takes tensors beside other columns")
    if not hasattr(scorer.model, "forward"):
        raise NotCompilable("the network is a graph already, without its module")
    example = torch.from_numpy(arrays_of(x, "tensor" if mode == "tensor" else "matrix", [], np.float32)[0])
    rows = torch.export.Dim("rows", min=1, max=2**31 - 1)
    with warnings.catch_warnings(), _quiet("torch.onnx"):
        warnings.simplefilter("ignore")  # the exporter's, about its own parts
        program = torch.onnx.export(
            _whole(torch, scorer),
            (example,),
            dynamo=True,
            verbose=False,
            input_names=["x"],
            output_names=["y0"],
            dynamic_shapes=({0: rows},),
        )
    made: bytes = program.model_proto.SerializeToString(deterministic=True)
    return made


@contextmanager
def _quiet(name: str) -> Generator[None]:
    """Without what the exporter logs about libraries that are not installed."""
    log = logging.getLogger(name)
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


def _whole(torch: Any, scorer: TorchScorer) -> Any:
    columns = {field.name: (i, field.categories) for i, field in enumerate(scorer.signature.columns)}
    mode, names = scorer.options["mode"], cast(list[str], scorer.options["names"])

    class Whole(torch.nn.Module):  # pyright: ignore[reportUntypedBaseClass]  # PyTorch is not here while types are checked
        def __init__(self) -> None:
            super().__init__()
            self.network = scorer.model

        def forward(self, x: Any) -> Any:
            if mode in ("matrix", "tensor"):
                found = self.network(x)
            else:
                by_name = {name: _cut(torch, x, *columns[name]) for name in names}
                found = self.network(**by_name) if mode == "named" else self.network(by_name)
            found = found[0] if isinstance(found, tuple | list) else found
            found = found.reshape(found.shape[0], 1) if found.dim() == 1 else found
            if scorer.options["answers"] == "numbers":
                return found
            is_logits = scorer.options["answers"] == "logits"
            if found.shape[1] == 1:
                one = torch.sigmoid(found) if is_logits else found
                return torch.cat([1.0 - one, one], dim=1)
            return torch.softmax(found, dim=1) if is_logits else found

    return Whole().eval()


def _cut(torch: Any, x: Any, place: int, categories: list[str] | None) -> Any:
    column = x[:, place]
    if categories is None:
        return column
    missing = torch.full_like(column, float(len(categories)))
    return torch.where(torch.isnan(column), missing, column).to(torch.int64)
