"""Plain values as tagged JSON: the only thing that crosses between judge and candidate.

None, bool, int, float (nan and inf too), str, list, tuple, dict, set, frozenset, Counter, OrderedDict and defaultdict,
by exact type: a subclass can carry its own `__eq__`, so it does not cross. No pickle, no eval; size, depth and length
of numbers are capped. Does not keep identity (a list that occurs twice arrives as two lists), nor a defaultdict's
factory that is no plain type.
"""

from collections import Counter, OrderedDict, defaultdict

MAX_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 64
MAX_INT_BITS = 1 << 18
_EXACT_INT = 1 << 53
_ROWS = {"l": list, "t": tuple, "s": set, "z": frozenset}
_DICTS = {"d": dict, "c": Counter, "o": OrderedDict}
_TAGS = {kind: tag for tag, kind in (_ROWS | _DICTS).items()}
_SIZED = (str, defaultdict, *_TAGS)
_FACTORIES = {kind.__name__: kind for kind in (int, float, str, bool, list, tuple, dict, set)}


class NotPlain(Exception):
    """The value, or the received text, is not a plain value within the caps."""


def encode(value):
    """A plain value as something that JSON holds. Raises NotPlain with the type that was found."""
    try:
        return _tag(value, 0, [MAX_BYTES])
    except NotPlain:
        raise
    except Exception as error:
        raise NotPlain(f"value cannot be encoded ({type(error).__name__})") from None


def decode(tagged):
    """The plain value behind what `encode` made. Raises NotPlain on anything else; the text may be forged."""
    try:
        return _untag(tagged, 0)
    except NotPlain:
        raise
    except Exception as error:
        raise NotPlain(f"not a tagged value ({type(error).__name__})") from None


def _tag(value, depth, budget):
    """`budget` holds the bytes that are left, at least one for each item (counted twice for items of containers)."""
    kind = type(value)
    budget[0] -= len(value) if kind in _SIZED else 1
    if budget[0] < 0:
        raise NotPlain(f"the value takes more than {MAX_BYTES} bytes")
    if value is None or kind is bool or kind is str:
        return value
    if kind is int:
        return _tag_int(value)
    if kind is float:
        return ["f", float.__repr__(value)]
    if depth >= MAX_DEPTH:
        raise NotPlain(f"the value is nested deeper than {MAX_DEPTH}")
    if kind in _ROWS.values():
        return [_TAGS[kind], *[_tag(item, depth + 1, budget) for item in value]]
    if kind in _DICTS.values() or kind is defaultdict:
        pairs = [[_tag(k, depth + 1, budget), _tag(v, depth + 1, budget)] for k, v in dict.items(value)]
        return [_TAGS[kind], *pairs] if kind in _TAGS else ["u", _factory_name(value), *pairs]
    raise NotPlain(f"a value of type {kind.__name__} is not a plain value")


def _factory_name(value):
    return next((name for name, kind in _FACTORIES.items() if value.default_factory is kind), None)


def _tag_int(value):
    if -_EXACT_INT < value < _EXACT_INT:
        return value
    if value.bit_length() > MAX_INT_BITS:
        raise NotPlain(f"an integer of {value.bit_length()} bits, more than {MAX_INT_BITS}")
    return ["i", hex(value)]


def _untag(tagged, depth):
    kind = type(tagged)
    if tagged is None or kind is bool or kind is str or kind is int:
        return tagged
    if kind is not list or not tagged or depth > MAX_DEPTH:
        raise NotPlain("not a tagged value")
    tag, items = tagged[0], tagged[1:]
    if tag == "f":
        return float(_short(items, 40))
    if tag == "i":
        return int(_short(items, MAX_INT_BITS // 4 + 4), 16)
    if tag in _ROWS:
        return _ROWS[tag]([_untag(item, depth + 1) for item in items])
    if tag == "u":
        factory, items = _FACTORIES.get(items[0]), items[1:]
    elif tag not in _DICTS:
        raise NotPlain("unknown tag")
    pairs = {_untag(k, depth + 1): _untag(v, depth + 1) for k, v in items}
    return defaultdict(factory, pairs) if tag == "u" else _DICTS[tag](pairs)


def _short(items, most):
    (text,) = items
    if type(text) is not str or len(text) > most:
        raise NotPlain("a number that is too long")
    return text
