"""Everything that moves a score although the model is the same, in one hashed record.

Two scores with different protocols are never compared. Does not hold the model, the device or the time.
"""

from dataclasses import MISSING, asdict, dataclass, fields, replace

from tunebook.errors import InputProblem
from tunebook.evaluation.benchmark import Benchmark
from tunebook.evaluation.extraction import VERSION as EXTRACTOR
from tunebook.evaluation.prompts import VERSION as PROMPT_TEMPLATE
from tunebook.evaluation.reply import ANSWERS, BLOCKS
from tunebook.files import hash_json

UNKNOWN, AUTO = "unknown", "auto"


@dataclass(frozen=True)
class Protocol:
    """How the completions were asked for, made and read. `thinking` is "off", "on" or "none" (a model without the
    mode). `rendered_sha256` is over one question as the model is asked it (not where it is asked raw), the token that
    closes its answer, and all that end it.

    `answer_reading` (see `reply.ANSWERS`) and `code_block` (`reply.BLOCKS`) are "auto" only until the benchmark is
    known.
    """

    benchmark_sha256: str
    benchmark: str = ""
    prompt_style: str = "chat"
    prompt_template: str = PROMPT_TEMPLATE
    instruction: str = ""
    examples_sha256: str = ""
    chat_template_sha256: str = ""
    rendered_sha256: str = ""
    thinking: str = "none"
    stops: tuple[str, ...] = ()
    extractor: str = EXTRACTOR
    answer_reading: str = AUTO
    code_block: str = AUTO
    cpu_seconds: float = 3.0
    max_new_tokens: int = 512
    temperature: float = 0.0
    top_p: float = 1.0
    n_samples: int = 1
    seed: int = 0

    @property
    def hash(self) -> str:
        """SHA-256 over every field but the benchmark's name, which is only for people."""
        return hash_json({key: value for key, value in self.to_dict().items() if key not in ("benchmark", "sha256")})

    def to_dict(self) -> dict:
        """Plain values for protocol.json."""
        return {**asdict(self), "stops": self.stops if self.stops == UNKNOWN else list(self.stops)}


def filled_in(protocol: Protocol, benchmark: Benchmark) -> Protocol:
    """The protocol with how replies are read: as it says, else as the benchmark says, the last code block, 3 s of CPU
    time.

    InputProblem for a reading, a block or a limit that there is not.
    """
    usual = {"answer_reading": benchmark.reading, "code_block": BLOCKS[-1], "cpu_seconds": Protocol.cpu_seconds}
    found = {key: value for key, value in usual.items() if getattr(protocol, key) in (AUTO, UNKNOWN)}
    protocol = replace(protocol, **found)
    for key, words in (("answer_reading", ANSWERS), ("code_block", BLOCKS)):
        if getattr(protocol, key) not in words:
            raise InputProblem(f"{key}: {getattr(protocol, key)!r} is unknown: use auto, {', '.join(words)}")
    if not 0 < protocol.cpu_seconds <= 600:
        raise InputProblem(
            f"cpu_seconds: {protocol.cpu_seconds!r}: a program gets above 0 and at most 600 s of CPU time"
        )
    return protocol


@dataclass(frozen=True)
class Asking:
    """How a study asks: the fields of the protocol that its parameters set, the same for every model of the study.

    `max_new_tokens` are for the task, `retained_max_new_tokens` for every retained benchmark; `allow_unisolated` is the
    consent to run programs without isolation.
    """

    prompt_style: str = "chat"
    instruction: str = ""
    thinking: str = "none"
    max_new_tokens: int = 32
    retained_max_new_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    n_samples: int = 1
    seed: int = 0
    answer_reading: str = AUTO
    code_block: str = AUTO
    cpu_seconds: float = 3.0
    allow_unisolated: bool = False

    def fields(self, name: str) -> dict:
        """What the benchmark called `name` is asked with, as `answer_and_score` takes it.

        The task's instruction, examples and reading are not those of a retained benchmark: that is asked and read
        without them.
        """
        is_task = name == "task"
        return {
            "prompt_style": self.prompt_style if is_task or self.prompt_style != "few_shot" else "chat",
            "instruction": self.instruction if is_task else "",
            "max_new_tokens": self.max_new_tokens if is_task else self.retained_max_new_tokens,
            **{key: getattr(self, key) for key in ("thinking", "temperature", "top_p", "n_samples", "seed")},
            "answer_reading": self.answer_reading if is_task else AUTO,
            **{key: getattr(self, key) for key in ("code_block", "cpu_seconds")},
            "allow_unisolated": self.allow_unisolated,
        }

    def choice_fields(self) -> dict:
        """What a choice on dev is asked with: as the study's score, but greedy, one sample a problem, without
        examples.
        """
        names = ("instruction", "thinking", "max_new_tokens", "seed", "answer_reading", "code_block", "cpu_seconds")
        kept = {key: getattr(self, key) for key in names}
        style = "chat" if self.prompt_style == "few_shot" else self.prompt_style
        return {"prompt_style": style, **kept, "allow_unisolated": self.allow_unisolated}


def from_dict(values: dict) -> Protocol:
    """Protocol from protocol.json or a hand-written dict; InputProblem for an unknown or missing key."""
    values = {key: value for key, value in values.items() if key not in ("sha256", "source")}
    known = {field.name for field in fields(Protocol)}
    unknown = sorted(values.keys() - known)
    if unknown:
        raise InputProblem(f"protocol: unknown field {unknown[0]!r}: the fields are {', '.join(sorted(known))}")
    if "benchmark_sha256" not in values:
        raise InputProblem("protocol: missing benchmark_sha256: a score without its benchmark cannot be compared")
    stops = values.get("stops", ())
    if stops != UNKNOWN and not isinstance(stops, list | tuple) or not all(isinstance(stop, str) for stop in stops):
        raise InputProblem(f"protocol: stops is {stops!r}: write a list of texts")
    for field in fields(Protocol):
        value, usual = values.get(field.name, UNKNOWN), field.default
        if value == UNKNOWN or field.name == "stops":
            continue
        wanted = str if usual is MISSING else type(usual)
        kinds = (int, float) if wanted is float else (wanted,)
        if isinstance(value, bool) != (wanted is bool) or not isinstance(value, kinds):
            raise InputProblem(f"protocol: {field.name} is {value!r}: expected {wanted.__name__}")
    return Protocol(**{**values, "stops": stops if stops == UNKNOWN else tuple(stops)})


def differences(a: Protocol | dict, b: Protocol | dict) -> list[str]:
    """The fields in which two protocols differ, as "field: A | B"; the benchmark's name alone is no difference."""
    a, b = (value if isinstance(value, dict) else value.to_dict() for value in (a, b))
    ignored = {"benchmark", "sha256", "source"}
    names = sorted((a.keys() | b.keys()) - ignored)
    return [
        f"{name}: {_short(a.get(name, UNKNOWN))} | {_short(b.get(name, UNKNOWN))}"
        for name in names
        if a.get(name, UNKNOWN) != b.get(name, UNKNOWN)
    ]


def require_equal(a: Protocol | dict, b: Protocol | dict, name_a: str = "A", name_b: str = "B") -> None:
    """InputProblem that lists the differing fields, unless both protocols are equal."""
    found = differences(a, b)
    if found:
        raise InputProblem(
            f"{name_a} and {name_b} were scored under different protocols ({'; '.join(found)}): "
            "score both the same way before comparing them"
        )


def _short(value) -> str:
    text = repr(value)
    return text if len(text) <= 24 else text[:20] + "..." + text[0]


def require_comparable(a: dict, b: dict, name_a: str = "A", name_b: str = "B") -> None:
    """Like `require_equal` for what is known of both; a field that is "unknown" on either side is no difference
    here.
    """
    known = {key for key in a.keys() & b.keys() if UNKNOWN not in (a[key], b[key])}
    require_equal({key: a[key] for key in known}, {key: b[key] for key in known}, name_a, name_b)


def unknown_fields(a: dict, b: dict) -> str:
    """A sentence about what is not known of two protocols, "" when both are known."""
    missing = [name for name, value in (("A", a), ("B", b)) if not value]
    if missing:
        return f"score {' and '.join(missing)} has no protocol.json: whether both were made the same way is unknown"
    fields_unknown = sorted(key for key in a.keys() | b.keys() if UNKNOWN in (a.get(key, UNKNOWN), b.get(key, UNKNOWN)))
    if fields_unknown:
        return f"unknown in the protocols: {', '.join(fields_unknown)}: whether both were made the same way is unknown"
    return ""
