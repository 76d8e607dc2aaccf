"""`perennial monitor run`: two tables compared, and a model on them, with nothing but their files."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, cast

from perennial.cli.data.named import TABLE, TABLE_HELP, Named
from perennial.cli.output import emit, here, progress, write
from perennial.errors import Invalid

if TYPE_CHECKING:
    from perennial.monitor.reporting.report import MonitorReport
    from perennial.monitor.reporting.sides import Roles
    from perennial.monitor.sample import Task

__all__ = ["arguments", "judgement", "run", "told", "windows"]


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--reference", required=True, metavar=TABLE, help=f"rows to compare with: {TABLE_HELP}")
    parser.add_argument("--current", required=True, metavar=TABLE, help="rows to look at")
    parser.add_argument("--target", metavar="COLUMN", help="the truth, where it is known")
    parser.add_argument("--prediction", metavar="COLUMN", help="the model's answers")
    parser.add_argument(
        "--probs",
        metavar="COLUMN|CLASS=COLUMN,...",
        help="probabilities: of the second of two classes, or a column for each class",
    )
    parser.add_argument("--time", metavar="COLUMN", help="when each row was asked for: dates, times or Unix time")
    parser.add_argument("--ignore", metavar="COLUMN,...", help="columns that are not compared")
    parser.add_argument("--task", choices=("regression", "classification"), help="where the guess is wrong")
    parser.add_argument(
        "--model",
        type=Path,
        metavar="PATH",
        help="asked where a table has no answers: a package, a folder that MLflow saved, a file such as model.onnx",
    )
    parser.add_argument("--trust-code", action="store_true", help="you know where the model is from; its code may run")
    windows(parser)
    judgement(parser)


def windows(parser: argparse.ArgumentParser) -> None:
    """What is shown side by side."""
    parser.add_argument(
        "--window",
        metavar="hour|day|week|month|N rows",
        help="what is shown side by side (default: by the rows' number)",
    )


def judgement(parser: argparse.ArgumentParser) -> None:
    """How a report judges, and where it goes."""
    parser.add_argument(
        "--tolerance", type=float, default=0.05, metavar="PSI", help="distance up to which a column is unchanged (0.05)"
    )
    parser.add_argument(
        "--alpha", type=float, default=0.05, metavar="SHARE", help="of the reported columns that may be false (0.05)"
    )
    parser.add_argument(
        "--quick", action="store_true", help="columns, data quality and realised performance only: learn nothing"
    )
    parser.add_argument(
        "--released", action="store_true", help="a version, a pipeline or a service was released between the two"
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="write the whole report there, as a page")
    parser.add_argument("--charts", type=Path, metavar="FOLDER", help="write its charts there, each as an SVG file")


def run(options: argparse.Namespace) -> int:
    from perennial.monitor.reporting.comparing import compared

    roles = _roles(options)
    with Named(options.home) as named, progress("reading the tables") as tell:
        reference, current = named.table(options.reference), named.table(options.current)
        frames = reference.lazy().collect(), current.lazy().collect()
        tell("comparing")
        report = compared(
            *frames,
            roles,
            model=options.model,
            trust_code=options.trust_code,
            window=options.window,
            thorough=not options.quick,
            released=options.released,
            tolerance=options.tolerance,
            alpha=options.alpha,
            names=(_name(options.reference), _name(options.current)),
        )
    return told(options, report)


def told(options: argparse.Namespace, report: MonitorReport) -> int:
    """Print a report and write its page; 1 when it found something, so that a pipeline can stop."""
    value, lines = report.as_dict(), list(report.lines())
    if options.html is not None:
        write(options.html, report.html())
        value |= {"page": str(options.html.absolute())}
        lines.append(f"the whole report: {here(str(options.html))}")
    if options.charts is not None:
        from perennial.store.files import LocalFiles

        LocalFiles().mkdirs(options.charts.absolute())
        drawn = report.charts()
        files = {name: options.charts / f"{_file_name(name)}.svg" for name in drawn}
        for name, file in files.items():
            write(file, drawn[name])
        value |= {"charts": {name: str(file.absolute()) for name, file in files.items()}}
        lines.append(f"its charts: {', '.join(here(str(file)) for file in files.values()) or 'none'}")
    emit(options, value, lines)
    return 0 if report.is_quiet else 1


def _roles(options: argparse.Namespace) -> Roles:
    from perennial.monitor.reporting.sides import Roles

    return Roles(
        target=options.target,
        prediction=options.prediction,
        probs=_probs(options.probs),
        time=options.time,
        ignore=[name.strip() for name in (options.ignore or "").split(",") if name.strip()],
        task=cast("Task | None", options.task),
    )


def _probs(text: str | None) -> str | dict[str, str] | None:
    """
    >>> _probs("p"), _probs("no=p_no, yes=p_yes"), _probs(None)
    ('p', {'no': 'p_no', 'yes': 'p_yes'}, None)
    """
    if text is None or "=" not in text:
        return text
    found: dict[str, str] = {}
    for part in text.split(","):
        label, equals, column = part.partition("=")
        if not equals or not label.strip() or not column.strip():
            raise Invalid(f"{part!r} names no class and its column", remedy="write --probs CLASS=COLUMN,CLASS=COLUMN")
        found[label.strip()] = column.strip()
    return found


def _file_name(name: str) -> str:
    """
    >>> _file_name("column-Wage per hour / USD")
    'column-Wage-per-hour-USD'
    """
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "chart"


def _name(text: str) -> str:
    return Path(text).name or text
