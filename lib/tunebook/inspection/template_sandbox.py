"""Renders chat templates from files of others in a child process: jinja2's immutable sandbox, a time limit and a memory
limit.

A template is a program. The sandbox stops it from reaching Python's objects, but not from looping or from building a
text of gigabytes; the child's limits do. Does not tokenise. Same filters and functions as transformers gives a
template.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time

from tunebook.errors import InputProblem
from tunebook.inspection import limited

LONGEST_TEXT = 8 * 2**20
SECONDS = 10.0  # for one prompt, the start of the child included
START = (
    "import sys; sys.path[:0] = sys.argv[1].split(':'); from tunebook.inspection import template_sandbox;"
    " template_sandbox.serve_templates()"
)
LIMITS = {"cpu_seconds": 600, "memory_bytes": 512 * 2**20}
USER = {"role": "user", "content": "Every day at noon"}
SYSTEM, ASSISTANT = {"role": "system", "content": "Be brief."}, {"role": "assistant", "content": "0 12 * * *"}
PROBES = {"user": [USER], "system": [SYSTEM, USER], "turns": [USER, ASSISTANT, USER]}


class Renderer:
    """One template in one child; `render` asks it. A child that broke a limit stays dead. Close it with `close`."""

    def __init__(self, template: str, bos: str = "", eos: str = ""):
        self.child = subprocess.Popen(
            [sys.executable, "-I", "-B", "-c", START, limited.places_of_packages()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=limited.ENVIRONMENT,
            start_new_session=True,
        )
        self.start = {"template": template, "bos": bos, "eos": eos}

    def render(self, messages: list[dict], add_generation_prompt: bool = True, **mode) -> str:
        """The prompt as text; `mode` are further values for the template. Raises InputProblem when the template
        fails, takes too long, or grows past the limit.
        """
        if self.child.poll() is not None:
            raise InputProblem("chat template: it broke a limit before and is not rendered again")
        request = {**self.start, "messages": messages, "add_generation_prompt": add_generation_prompt, "mode": mode}
        self.start = {}
        try:
            self.child.stdin.write(json.dumps(request).encode() + b"\n")
            self.child.stdin.flush()
            answer = json.loads(self._line())
        except (BrokenPipeError, json.JSONDecodeError):
            self.close()
            raise InputProblem(
                "chat template: rendering it ended the child process (too much memory or time)"
            ) from None
        if "problem" in answer:
            raise InputProblem(f"chat template: {answer['problem']}")
        if any("\ud800" <= mark <= "\udfff" for mark in answer["text"]):
            raise InputProblem("chat template: the text that it makes holds half a surrogate pair, which is no UTF-8")
        return answer["text"]

    def _line(self) -> bytes:
        end, data = time.monotonic() + SECONDS, b""
        while not data.endswith(b"\n"):
            ready, _, _ = select.select([self.child.stdout], [], [], max(0.0, end - time.monotonic()))
            piece = os.read(self.child.stdout.fileno(), 1 << 20) if ready else b""
            data += piece
            if not ready:
                self.close()
                raise InputProblem(f"chat template: it is not rendered after {SECONDS:g} seconds; the file is not used")
            if not piece or len(data) > 8 * LONGEST_TEXT:
                return b""
        return data

    def close(self) -> None:
        """Ends the child."""
        with contextlib.suppress(ProcessLookupError):
            self.child.kill()
        self.child.wait()
        for stream in (self.child.stdin, self.child.stdout):
            with contextlib.suppress(BrokenPipeError):
                stream.close()


def render_probes(template: str, bos: str = "", eos: str = "") -> dict[str, str]:
    """Three short conversations rendered; the text, or for a conversation that the template refuses by itself "refused:
    ...".

    Raises InputProblem when the first, a single user turn, does not render.
    """
    renderer, shown = Renderer(template, bos, eos), {}
    try:
        for name, messages in PROBES.items():
            try:
                shown[name] = renderer.render(messages)
            except InputProblem as problem:
                if name == "user" or renderer.child.poll() is not None:
                    raise
                shown[name] = f"refused: {problem}"
    finally:
        renderer.close()
    return shown


def serve_templates() -> None:
    """The child's life: limits, then one JSON line in, one out."""
    import jinja2  # noqa: F401  (before Landlock closes the way)

    limited.give_up(LIMITS, [])
    environment, template, tokens = _environment(), None, {}
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if "template" in request:
                tokens = {"bos_token": request["bos"], "eos_token": request["eos"]}
                template = environment.from_string(request["template"])
            values = {key: request[key] for key in ("messages", "add_generation_prompt")}
            answer = {
                "text": _bounded(template, {"tools": None, "documents": None, **values, **tokens, **request["mode"]})
            }
        except MemoryError:
            os.kill(os.getpid(), signal.SIGKILL)
        except Exception as problem:  # whatever a template raises
            answer = {"problem": f"{type(problem).__name__}: {str(problem)[:200]}"}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _bounded(template, values: dict) -> str:
    if template is None:
        raise ValueError("the template could not be read")
    pieces, size = [], 0
    for piece in template.generate(**values):
        size += len(piece)
        if size > LONGEST_TEXT:
            raise ValueError(f"the text is longer than {LONGEST_TEXT} characters")
        pieces.append(piece)
    return "".join(pieces)


def _environment():
    from datetime import datetime

    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """`{% generation %}` marks the assistant's text for training; here its body is only rendered."""

        tags = {"generation"}

        def parse(self, parser):
            next(parser.stream)
            return parser.parse_statements(["name:endgeneration"], drop_needle=True)

    def refuse(message):
        raise ValueError(message)

    def to_json(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    made = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, Generation])
    made.filters["tojson"] = to_json
    made.globals |= {"raise_exception": refuse, "strftime_now": lambda form: datetime.now().strftime(form)}
    return made
