"""`perennial monitor report`: what an endpoint was asked and answered, beside the rows its version was judged on."""

from __future__ import annotations

import argparse
from pathlib import Path

from perennial.cli.monitor.run import judgement, told, windows
from perennial.cli.output import progress
from perennial.clock import parse_time
from perennial.errors import Invalid

__all__ = ["arguments", "run"]


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("endpoint", help="whose predictions")
    parser.add_argument("--version", type=int, metavar="N", help="which version answered (default: the live one)")
    parser.add_argument(
        "--since", metavar="TIME", help="first moment, as 2026-07-01 (default: the version's first answer)"
    )
    parser.add_argument("--until", metavar="TIME", help="past the last moment (default: now)")
    windows(parser)
    judgement(parser)


def run(options: argparse.Namespace) -> int:
    from perennial.api.connect import open as open_workspace
    from perennial.capture.reading import PredictionReader
    from perennial.monitor.captured import captured_sides
    from perennial.monitor.reporting.standalone import run as compare
    from perennial.renew.remembering import record_of

    with open_workspace(options.home, origin="cli") as ws, progress("reading predictions") as tell:
        number = options.version if options.version is not None else ws.endpoints.get(name=options.endpoint).live
        if number is None:
            raise Invalid(f"endpoint {options.endpoint!r} serves nothing", remedy="name a version: --version")
        version = ws.models.get(name=options.endpoint, version=number)
        ws.predictions.ingest()
        found = captured_sides(
            PredictionReader(ws.objects, ws.predictions),
            endpoint=options.endpoint,
            version=version,
            objects=ws.objects,
            since=_moment(options.since),
            until=_moment(options.until),
        )
        tell("comparing")
        report = compare(
            found.reference,
            found.current,
            window=options.window,
            thorough=not options.quick,
            released=options.released,
            title=f"{options.endpoint} version {number}",
            names=(found.reference_is, f"what it answered since {options.since or 'it went live'}"),
            left_out=dict.fromkeys(sorted(found.not_kept), "not written down as it came"),
            tolerance=options.tolerance,
            alpha=options.alpha,
            record=record_of(ws.monitor.windows(endpoint=options.endpoint, version=number)),
        )
    if options.html is None and not options.json:
        options.html = Path(f"{options.endpoint}-{number}-monitoring.html")
    return told(options, report)


def _moment(text: str | None) -> int | None:
    """Microseconds since 1970."""
    try:
        return None if text is None else parse_time(text)
    except ValueError:
        raise Invalid(f"{text!r} is no time", remedy="write it as 2026-07-01 or 2026-07-01T12:00Z") from None
