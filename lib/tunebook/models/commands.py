"""`tunebook inspect`: look at a model file or folder before it is loaded. Parses flags and prints; `inspect` looks."""

import argparse
import json

from tunebook.terminal import counted, escaped, paragraphs


def add(subparsers) -> None:
    """Add the `inspect` command."""
    parser = subparsers.add_parser(
        "inspect",
        help="look at a model file before loading it",
        description=(
            "Look at a GGUF or safetensors file, a model or adapter folder, or a Hub model: exit 1 on any objection of"
            " severity error."
        ),
    )
    parser.add_argument("model", metavar="MODEL_OR_FILE", help="a file, a folder, a packaged model, or owner/name")
    parser.add_argument("--revision", default="", help="commit or tag of a Hub model")
    parser.add_argument("--base", default="", metavar="MODEL", help="compare the chat template with this model's")
    parser.add_argument("--base-revision", default="", help="commit or tag of a Hub base model")
    parser.add_argument("--no-scan", action="store_true", help="do not look through the weights for NaN (faster)")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.set_defaults(handler=inspect_command)


def inspect_command(args: argparse.Namespace) -> int:
    """Print what it is and every objection; 1 when one of them is an error."""
    from tunebook.models.inspect import inspect as look

    found = look(args.model, args.revision, args.base, scan=not args.no_scan, base_revision=args.base_revision)
    print(json.dumps(found, allow_nan=False) if args.json else inspection_text(found))
    return 1 if any(item["severity"] == "error" for item in found["findings"]) else 0


def inspection_text(found: dict) -> str:
    """A table of facts and one paragraph an objection. Text from the file is shown without control characters."""
    severities = {item["severity"] for item in found["findings"]}
    verdict = "FAIL" if "error" in severities else "WARN" if "warn" in severities else "PASS"
    lines = [f"{verdict}: {escaped(found['target'])}, {counted(found['findings'])}", ""]
    tokens = found.get("tokens") or {}
    facts = {
        "kind": found["kind"],
        "architecture": found.get("architecture"),
        "base model" if found["kind"] == "adapter" else "name": found.get("name"),
        "parameters": f"{found['parameters']:,}" if found.get("parameters") else "",
        "tensors": ", ".join(f"{count} {name}" for name, count in found.get("tensors", {}).get("types", {}).items()),
        "tokens": f"{tokens['vocabulary']:,}" if tokens.get("vocabulary") else "",
        "special": ", ".join(
            f"{name} {value}" for name, value in (tokens.get("pieces") or tokens.get("special") or {}).items()
        ),
        "template": found.get("template_sha256", "")[:12],
        "licence": found.get("licence"),
        "bytes": f"{found['bytes']:,}",
        "sha256": found["sha256"],
    }
    lines += [f"{name + ':':14s}{escaped(str(value))}" for name, value in facts.items() if value]
    if found.get("template_diff"):
        lines += ["", "template, base against this:", *map(escaped, found["template_diff"].split("\n"))]
    return "\n".join(lines + paragraphs(found["findings"]))
