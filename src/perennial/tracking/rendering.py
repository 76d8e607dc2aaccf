"""Pictures and tables of the usual libraries as the bytes of a file; none of them is imported to find out."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from perennial.errors import DataError, Invalid

__all__ = ["figure_bytes", "table_bytes"]

PNG_SCALE = 2  # dots for a point of a chart, so that it is sharp on a screen of today


def figure_bytes(figure: Any, path: str) -> bytes:
    """The picture in the format that the path ends in.

    Raises:
        Invalid: It is no picture of a library that is known, or not in this format.
    """
    kind = PurePosixPath(path).suffix.removeprefix(".").lower()
    if isinstance(figure, bytes):
        return figure
    figure = getattr(figure, "figure", figure) if hasattr(figure, "get_figure") else figure  # axes know their figure
    try:
        if hasattr(figure, "savefig"):  # matplotlib, seaborn
            return _saved(figure.savefig, format=kind, bbox_inches="tight")
        if hasattr(figure, "to_plotly_json"):
            return figure.to_html().encode() if kind == "html" else figure.to_image(format=kind)
        if hasattr(figure, "to_dict") and hasattr(figure, "transformed_data"):  # Altair
            return _chart(figure, kind)
        if hasattr(figure, "tobytes") and hasattr(figure, "save"):  # Pillow
            return _saved(figure.save, format={"jpg": "jpeg"}.get(kind, kind))
    except (ValueError, KeyError, OSError) as error:
        raise Invalid(f"{path!r}: this picture cannot be written as {kind!r}: {error}") from error
    raise Invalid(
        f"{type(figure).__name__} is no picture of matplotlib, Altair, plotly or Pillow",
        remedy="write it to a file and use log_file",
    )


def table_bytes(frame: Any, path: str) -> bytes:
    """The table in the format that the path ends in.

    Raises:
        Invalid: It is no table, or the format is not Parquet, CSV or JSON.
    """
    import polars as pl

    from perennial.data.frames import to_arrow

    kind = PurePosixPath(path).suffix.removeprefix(".").lower()
    if kind not in ("parquet", "csv", "json"):
        raise Invalid(f"{path!r}: a table is written as Parquet, CSV or JSON", remedy="end the path in .parquet")
    try:
        table = pl.DataFrame(frame) if isinstance(frame, Mapping) else pl.DataFrame(to_arrow(frame))
        if kind == "json":
            return table.write_json().encode()
        return _saved(table.write_parquet if kind == "parquet" else table.write_csv)
    except (DataError, TypeError, ValueError, pl.exceptions.PolarsError) as error:
        raise Invalid(f"{path!r}: this cannot be written as a table: {error}") from error


def _saved(save: Any, **how: Any) -> bytes:
    sink = io.BytesIO()
    save(sink, **how)
    return sink.getvalue()


def _chart(figure: Any, kind: str) -> bytes:
    if kind == "json":
        return json.dumps(figure.to_dict()).encode()
    if kind == "html":
        return figure.to_html().encode()
    import vl_convert

    spec = json.dumps(figure.to_dict())
    if kind == "svg":
        return vl_convert.vegalite_to_svg(spec).encode()
    if kind == "png":
        return vl_convert.vegalite_to_png(spec, scale=PNG_SCALE)
    raise Invalid(f"a chart cannot be written as {kind!r}", remedy="use .png, .svg, .html or .json")
