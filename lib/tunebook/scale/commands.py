"""`tunebook sweep` and `job`. Parses flags and prints; the modules beside it do the work."""

import argparse

from tunebook.pipeline.runs import find_root


def add(subparsers) -> None:
    """Add the two commands."""
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
    parser = subparsers.add_parser("job", help="write a study as a submission for another machine")
    parser.add_argument("params", metavar="PARAMS", help="study file, or its name in params/")
    parser.add_argument("--for", dest="place", required=True, choices=("hf-jobs", "slurm", "docker", "local"))
    parser.add_argument("--hours", type=float, default=0.0, help="limit after which the machine is given back")
    parser.add_argument("--like", default="", metavar="RUN", help="finished run here whose time sets the limit instead")
    parser.add_argument("--run", default="", metavar="NAME", help="name of the run; the study's name otherwise")
    parser.add_argument("--set", dest="sets", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--hardware", default="", help="flavour of HF Jobs, or partition of Slurm")
    parser.add_argument("--image", default="", help="Docker image; NAME@sha256:... pins it to the byte")
    parser.add_argument("--repository", default="", help="where the machine clones the commit; remote origin otherwise")
    parser.add_argument(
        "--keep-in", default="", metavar="OWNER/NAME", help="Hub data set through which a run comes back"
    )
    parser.add_argument("--cpus", type=int, default=2)
    parser.add_argument("--gpus", type=int, default=0)
    parser.set_defaults(handler=job)


def sweep(args: argparse.Namespace) -> int:
    """Run a sweep with its table on stdout."""
    from tunebook.scale.sweep import run_sweep

    return run_sweep(find_root(), args.params, args.address, args.local)


def job(args: argparse.Namespace) -> int:
    """Print the submission."""
    from tunebook.scale.submission import IMAGE, Request, render

    names = ("place", "hours", "like", "run", "hardware", "repository", "keep_in", "cpus", "gpus")
    given = {name: getattr(args, name) for name in names}
    request = Request(study=args.params, sets=tuple(args.sets), image=args.image or IMAGE, **given)
    print(render(find_root(), request), end="")
    return 0
