"""The three ways in which Tunebook says no, each with the exit code of the command line.

Does not handle anything: `tunebook.cli` turns these into one sentence on stderr. Everything else that escapes is a
defect of Tunebook itself.
"""

import difflib


def _one_line(problem: Exception) -> list[str]:
    """What IPython shows instead of a traceback: these errors are about what somebody gave, and name the remedy."""
    return [f"{type(problem).__name__}: {problem}"]


def did_you_mean(text: str, known, otherwise: str, cutoff: float = 0.6) -> str:
    """The end of a sentence about a name that is not known: the nearest one of `known`, else `otherwise`."""
    near = difflib.get_close_matches(text, list(known), 1, cutoff)
    return f"did you mean {near[0]!r}?" if near else otherwise


class InputProblem(ValueError):
    """What the user gave cannot be used: a missing file, an unknown key, a wrong type. Exit code 2."""

    exit_code = 2
    _render_traceback_ = _one_line


class MachineProblem(RuntimeError):
    """The machine cannot do it: no disk, no isolation, no network, a dead kernel. Exit code 3."""

    exit_code = 3
    _render_traceback_ = _one_line


class IntegrityProblem(RuntimeError):
    """A recorded hash and the bytes on disk differ. Exit code 4."""

    exit_code = 4
    _render_traceback_ = _one_line
