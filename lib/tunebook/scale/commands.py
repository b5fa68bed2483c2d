"""`tunebook sweep`. Parses flags and prints; the modules beside it do the work."""

import argparse

from tunebook.pipeline.runs import find_root


def add(subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "sweep", help="run a grid and seeds of one study", description="Run the points of a sweep on Ray, and compare."
    )
    parser.add_argument("params", metavar="SWEEP", help="sweep file, or its name in params/sweeps/")
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--address", default="", help="Ray cluster, such as 10.0.0.1:6379 or auto; this machine otherwise"
    )
    where.add_argument("--local", action="store_true", help="processes of this machine, without Ray")
    parser.set_defaults(handler=sweep)


def sweep(args: argparse.Namespace) -> int:
    """Run a sweep with its table on stdout."""
    from tunebook.scale.sweep import run_sweep

    return run_sweep(find_root(), args.params, args.address, args.local)
