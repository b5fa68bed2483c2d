"""What goes into the runner and what comes out: programs, limits, outcomes and the verdict words.

Does not run anything, and imports nothing but the standard library: the judge process loads it too.
"""

from dataclasses import asdict, dataclass

VERDICTS = (
    "pass",
    "wrong",
    "exception",
    "syntax",
    "no_code",
    "early_exit",
    "invalid_output",
    "cpu_limit",
    "wall_limit",
    "mem_limit",
    "output_limit",
    "proc_limit",
    "denied",
    "invalid",
)
TIMEOUTS = ("cpu_limit", "wall_limit")
KINDS = ("code", "answer", "reference")
DETAIL_CHARS = 300
MIB = 1024 * 1024

# How the detail of an outcome begins where not the program but the problem's own test is at fault.
BROKEN_TEST = "the test of the problem does not load"


@dataclass(frozen=True)
class Program:
    """One completion of one problem, ready to run.

    `source` is the whole candidate program (`kind="code"`) or the answer text (`kind="answer"`); with
    `kind="reference"` nothing of it is run: the test gets the reference's own function, in the judge's process. `test`
    defines `check` and is trusted, as is `reference` (prompt + canonical solution), which gives the judge the helpers
    that some tests call (HumanEval 10, 32, 38 and 50). With no `reference` the judge uses `prompt` alone.
    """

    task_id: str
    sample: int
    source: str
    entry_point: str
    test: str
    prompt: str = ""
    kind: str = "code"
    reference: str = ""


@dataclass(frozen=True)
class Limits:
    """What one candidate, with everything it starts, may use. CPU time decides; the wall clock is a loose backstop.

    `idle_seconds` is wall time during which no thread of the candidate runs or wants to run: a sleeping program ends
    there, a busy program on a busy machine does not.
    """

    cpu_seconds: float = 3.0
    idle_seconds: float = 5.0
    wall_seconds: float = 60.0
    memory_bytes: int = 1024 * MIB
    output_bytes: int = 8 * MIB
    file_bytes: int = 16 * MIB
    folder_bytes: int = 64 * MIB
    folder_files: int = 4096
    open_files: int = 64
    processes: int = 32

    def as_dict(self) -> dict:
        return asdict(self)


@dataclass(frozen=True)
class Outcome:
    """The judge's word on one program. `passed` is None only for `invalid`: an infrastructure fault, neither pass
    nor fail.
    """

    task_id: str
    sample: int
    passed: bool | None
    verdict: str
    detail: str
    cpu_seconds: float


def clean_detail(text: str) -> str:
    """At most 300 characters, every control or unprintable character escaped (candidate text reaches terminals and
    reports).
    """
    cut = text[: DETAIL_CHARS * 2]
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in cut)
    return shown if len(shown) <= DETAIL_CHARS else shown[: DETAIL_CHARS - 1] + "…"
