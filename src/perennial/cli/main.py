"""`perennial VERB ...`: find the command, run it, turn errors into sentences and exit codes.

Exit codes: 0 done, 1 the answer is no, 2 wrong usage or input, 3 we failed. Results go to standard output, everything
else to standard error. A command's module has `arguments(parser)` and `run(options) -> int`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from perennial import __version__

__all__ = ["COMMANDS", "main", "parser_of"]

COMMANDS = {  # in the order of a project's life
    "init": "write a new project from a template",
    "run": "collect, train, test: a candidate",
    "check": "the verdict on the loop, for continuous integration",
    "up": "run everything: pages, API, predictions, retraining",
    "down": "stop what `up` runs",
    "status": "what needs a person now, and what is live",
    "approve": "let a candidate pass",
    "reject": "refuse a candidate",
    "deploy": "send a version to its endpoint, or import a fitted model",
    "rollback": "make the version before live again",
    "score": "a model's answers to a table of any size",
    "log": "the time line; --why explains one prediction",
    "demo": "a model's whole life on real data, in a minute",
    "doctor": "is this machine and workspace in order?",
    "verify": "check all stored bytes, records and the audit chain",
    "backup": "copy the workspace, consistently",
    "restore": "make a workspace from a backup",
    "data": "dataset versions: list, show, accept",
    "models": "model versions: list, show, card, compare, explain, decide, move in and out",
    "runs": "runs: list, show, log",
    "endpoints": "endpoints: status, history, live, pin, unpin",
    "monitor": "what changed, whether it hurts: run, report, incidents, maintenance, notices",
    "label": "true values for past predictions: import",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] in (["--version"], ["-V"]):
        print(f"perennial {__version__}")
        return 0
    if sys.platform == "win32":
        print("Perennial runs on Linux and macOS; on Windows run it in WSL (wsl --install).", file=sys.stderr)
        return 2
    name = next((word for word in words if not word.startswith("-")), "")
    if name not in COMMANDS or words[0] != name:
        _overview().parse_args(words or ["--help"])
        return 2
    options = parser_of(name, words[1:]).parse_args(words[1:])
    # Threads of a parallel fit that wait for one another shall sleep, not spin: beside other processes on the same
    # cores spinning makes a fit of 0.2 s one of 13 s. The OpenMP runtime reads it when it loads, here and in children.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from perennial.cli.output import explain
    from perennial.errors import PerennialError
    from perennial.store.actor import acting, system_user

    try:
        with acting(system_user(), "cli"):
            return options.run(options)
    except PerennialError as error:
        return explain(error, as_json=options.json)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever reads our output has seen enough
        sys.stderr.close()
        return 0
    except Exception:  # noqa: BLE001  the boundary of a command: a bug is told as it is, and is never the answer "no"
        import traceback

        traceback.print_exc()
        print("this is a bug in Perennial; please report it with the lines above", file=sys.stderr)
        return 3


def parser_of(name: str, words: Sequence[str] = ()) -> argparse.ArgumentParser:
    """The parser of one command. One with many verbs may leave out those that `words` do not ask for."""
    module = import_module(f"perennial.cli.{name}")
    parser = argparse.ArgumentParser(prog=f"perennial {name}", description=_sentence(name))
    parser.set_defaults(run=getattr(module, "run", None))
    if (only := getattr(module, "arguments_of", None)) is not None:
        only(parser, words)
    else:
        module.arguments(parser)
    return parser


def _overview() -> argparse.ArgumentParser:
    rows = "\n".join(f"  {name:<10} {says}" for name, says in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="perennial",
        usage="perennial COMMAND ...",
        description="Models that come back every season: the whole life of a model, declared in one file.",
        epilog=f"commands:\n{rows}\n\n`perennial COMMAND --help` tells more.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", "-V", action="version", version=__version__)
    parser.add_argument("command", metavar="COMMAND", choices=list(COMMANDS))
    return parser


def _sentence(name: str) -> str:
    says = COMMANDS[name]
    return says[0].upper() + says[1:] + "."


if __name__ == "__main__":
    sys.exit(main())
