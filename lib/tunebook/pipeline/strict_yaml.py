"""Read a YAML file of `key: value` lines as it was meant. Does not know which keys exist."""

import datetime
from pathlib import Path

import yaml

from tunebook.errors import InputProblem


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader that refuses a doubled key, of which YAML would keep the last."""


def _mapping(loader: _StrictLoader, node: yaml.MappingNode) -> dict:
    found = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str | int | float | bool | datetime.date | None):
            raise InputProblem(
                f"{key_node.start_mark.name}, line {key_node.start_mark.line + 1}: a key must be a word, found {key!r}"
            )
        if key in found:
            raise InputProblem(
                f"{key_node.start_mark.name}, line {key_node.start_mark.line + 1}: {key!r} is set twice: keep one"
            )
        found[key] = loader.construct_object(value_node, deep=True)
    return found


_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read_mapping(path: Path) -> dict:
    """The mapping in a YAML file. InputProblem with the line where it is no YAML, sets a key twice or is empty."""
    try:
        with open(path, encoding="utf-8") as stream:
            content = yaml.load(stream, Loader=_StrictLoader)
    except (OSError, UnicodeDecodeError) as problem:
        raise InputProblem(f"{path} cannot be read as text: {problem}") from None
    except yaml.YAMLError as problem:
        mark = getattr(problem, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise InputProblem(f"{path}{line}: not YAML ({getattr(problem, 'problem', None) or 'syntax'})") from None
    except (ValueError, TypeError) as problem:  # a date or a number that does not exist
        raise InputProblem(f"{path}: not YAML ({str(problem).partition(';')[0]}): put text into quotes") from None
    except RecursionError:
        raise InputProblem(f"{path}: nested too deeply") from None
    if content is None:
        raise InputProblem(f"{path} is empty: write `extends: base` and the keys that change")
    if not isinstance(content, dict):
        raise InputProblem(f"{path}: expected `key: value` lines, found {type(content).__name__}")
    return content
