"""The `tunebook` command: collects the commands of the rooms and turns their problems into one sentence and an exit
code.

Does nothing else. 0 fine (for `run` and `compare` only on GO), 1 a gate or comparison says otherwise, 2 bad input, 3
the machine, 4 a hash differs.
"""

import argparse
import importlib
import os
import signal
import sys
import traceback

from tunebook.errors import InputProblem, IntegrityProblem, MachineProblem

# In the order of the help.
ROOMS = (
    "tunebook.pipeline.commands",
    "tunebook.data.commands",
    "tunebook.evaluation.commands",
    "tunebook.models.commands",
    "tunebook.export.commands",
    "tunebook.decision.commands",
    "tunebook.scale.commands",
    "tunebook.doctor",
)
INTERRUPTED = 130


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP: ends the run as Ctrl-C does, kernel included."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    parser = build_parser()
    args = parser.parse_args(arguments)
    before = _end_on_signals()
    try:
        return args.handler(args)
    except (InputProblem, MachineProblem, IntegrityProblem) as problem:
        print(f"error: {problem}", file=sys.stderr)
        return problem.exit_code
    except KeyboardInterrupt:
        what = ": finished stages are kept, the same command goes on from there" if hasattr(args, "params") else ""
        print(f"\nstopped{what}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as problem:
        print(f"error: {problem}: check the free space of that disk and who may write there", file=sys.stderr)
        return MachineProblem.exit_code
    except Exception as problem:
        if os.environ.get("TUNEBOOK_TRACEBACK"):
            raise
        print(
            f"error: a defect of Tunebook, {_describe(problem)}: set TUNEBOOK_TRACEBACK=1 and report it",
            file=sys.stderr,
        )
        return MachineProblem.exit_code
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def build_parser() -> argparse.ArgumentParser:
    """The parser with the commands of every room."""
    parser = argparse.ArgumentParser(
        prog="tunebook", description="Fine-tune a small language model and say honestly whether it was worth it."
    )
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for name in ROOMS:
        importlib.import_module(name).add(subparsers)
    return parser


def _describe(problem: Exception) -> str:
    """Class, message and place of an error that no room foresaw, in one line."""
    place = traceback.extract_tb(problem.__traceback__)[-1]
    return (
        f"{type(problem).__name__}: {' '.join(str(problem).split())} ({os.path.basename(place.filename)}, line"
        f" {place.lineno})"
    )


def _end_on_signals() -> dict:
    """Take SIGTERM and SIGHUP for Ctrl-C, except where they are ignored (nohup). Returns the handlers before."""

    def end(_number, _frame):
        raise Terminated

    signals = [name for name in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(name) == signal.SIG_DFL]
    return {name: signal.signal(name, end) for name in signals}
