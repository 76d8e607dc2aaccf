"""`perennial monitor dashboard > file.json`: a dashboard for Grafana on what the service and the owner measure."""

from __future__ import annotations

import argparse
import json

from perennial.cli.output import emit

__all__ = ["arguments", "run"]


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "Import the file in Grafana (10 or newer) and choose the Prometheus that scrapes both addresses."


def run(options: argparse.Namespace) -> int:
    from perennial.monitor.incidents.grafana import dashboard

    made = dashboard()
    emit(options, made, [json.dumps(made, indent=2)])
    return 0
