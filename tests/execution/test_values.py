"""Only plain values cross between judge and candidate, and they arrive as they were."""

import json
import math
from collections import Counter, OrderedDict, defaultdict, namedtuple
from enum import IntEnum

import pytest

from tunebook.execution.values import MAX_BYTES, MAX_DEPTH, NotPlain, decode, encode

PLAIN = [
    None, True, False, 0, -1, 2**53, -(2**200), 1.5, -0.0, float("inf"), float("-inf"), "", "é\ud800\x00", [], (), {},
    set(),
    [1, [2, (3, {"k": {4, 5}})]], {1: "a", (1, 2): None, None: [None]}, ["l", 1], ["f", "nan"], {"d": 1},
]  # fmt: skip


def cross(value):
    return decode(json.loads(json.dumps(encode(value))))


@pytest.mark.parametrize("value", PLAIN, ids=repr)
def test_plain_values_arrive_as_they_were(value):
    arrived = cross(value)
    assert arrived == value and type(arrived) is type(value)


def test_nan_and_signed_zero_arrive():
    assert math.isnan(cross(float("nan")))
    assert math.copysign(1, cross(-0.0)) == -1


CONTAINERS = [Counter("aab"), OrderedDict(a=1), defaultdict(int, a=1), defaultdict(None, a=1), frozenset({1})]
CONTAINERS += [{frozenset({1}), frozenset({2})}, {frozenset({1}): 2}]


@pytest.mark.parametrize("value", CONTAINERS, ids=repr)
def test_standard_containers_cross_as_what_they_are(value):
    """A frozenset that arrives as a set is no key, and a Counter that arrives as a dict gives no zero."""
    arrived = cross(value)
    assert arrived == value and type(arrived) is type(value)
    assert getattr(arrived, "default_factory", None) is getattr(value, "default_factory", None)


def test_a_factory_that_is_no_plain_type_stays_behind():
    assert cross(defaultdict(lambda: 1, a=1)).default_factory is None


class Text(str):
    pass


class Number(IntEnum):
    ONE = 1


def deep(levels):
    value = []
    for _ in range(levels):
        value = [value]
    return value


ODD = {
    "object": object(), "bytes": b"x", "complex": 1j, "str_subclass": Text("x"), "int_enum": Number.ONE, "type": int,
    "generator": (x for x in []), "range": range(3), "namedtuple": namedtuple("P", "x")(1), "dict_keys": {}.keys(),
    "function": len, "inside": [1, {"a": Text("x")}], "key": {Text("x"): 1}, "deep": deep(MAX_DEPTH + 1),
    "long": "x" * (MAX_BYTES + 1), "many": [0] * (MAX_BYTES + 1), "large_integer": 1 << (1 << 20),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_anything_else_does_not_cross(name):
    with pytest.raises(NotPlain):
        encode(ODD[name])


def test_cyclic_value_does_not_cross():
    value = []
    value.append(value)
    with pytest.raises(NotPlain):
        encode(value)


FORGED = [
    [], {}, 1.5, ["x", 1], ["p", "cos\nsystem"], ["f"], ["f", 1], ["f", "1" * 100], ["f", "abc"], ["i", "zz"], ["i", 3],
    ["d", [1]], ["d", 1], ["d", [["l"], 1]], ["s", ["l"]], [["l"]], ["l", {}], [None],
    json.loads("[" * 200 + "]" * 200),
]  # fmt: skip


@pytest.mark.parametrize("tagged", FORGED, ids=lambda tagged: json.dumps(tagged)[:30])
def test_forged_text_is_no_value(tagged):
    with pytest.raises(NotPlain):
        decode(tagged)
