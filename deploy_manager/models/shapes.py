"""Reading JSON fields, whose rows may have been written around every form.

A page shows the items of the expected type instead of failing. Values that decide what runs are
validated again by the worker, and refused if they are not of that type.
"""

import re
from collections.abc import Sequence
from typing import Any

KEY = range(1, 2**63)
"""Primary keys. Databases refuse larger numbers with an error."""

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
"""JSON can escape them, but no encoding has them."""


def texts_in(value: object) -> tuple[str, ...]:
    """Return the strings of a list; none if it is not a list."""
    return tuple(each for each in _list(value) if isinstance(each, str))


def objects_in(value: object) -> tuple[dict[str, Any], ...]:
    """Return the objects of a list; none if it is not a list."""
    return tuple(each for each in _list(value) if isinstance(each, dict))


def object_in(value: object) -> dict[str, Any]:
    """Return an object; an empty one if it is anything else."""
    return value if isinstance(value, dict) else {}


def texts_by_name(value: object) -> dict[str, str]:
    """Return the texts of an object, by their names; none if it is not an object."""
    return {name: each for name, each in object_in(value).items() if isinstance(each, str)}


def keys_in(value: object) -> tuple[int, ...]:
    """Return the numbers of a list that can be primary keys; none if it is not a list."""
    return tuple(each for each in _list(value) if isinstance(each, int) and fits(each, KEY))


def fits(value: object, shape: object) -> bool:
    """Whether a value has a shape, all the way down.

    A shape is a type; a range or a set of allowed values; a list with the shape of its items; or a
    dictionary of those keys that have to be there. Text has to be such that it can be stored.
    """
    if isinstance(shape, dict):
        return isinstance(value, dict) and all(
            name in value and fits(value[name], inner) for name, inner in shape.items()
        )
    if isinstance(shape, list):
        return isinstance(value, list) and all(fits(each, shape[0]) for each in value)
    if isinstance(shape, range):
        return type(value) is int and value in shape  # since True is an instance of int
    if isinstance(shape, frozenset):
        return isinstance(value, str) and value in shape
    if isinstance(value, str) and _LONE_SURROGATE.search(value):
        return False
    return type(value) is shape


def _list(value: object) -> Sequence[object]:
    return value if isinstance(value, (list, tuple)) else ()
