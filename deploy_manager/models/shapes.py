"""Reading JSON fields, whose rows may have been written around every form.

A page shows the items of the expected type instead of failing. Values that decide what runs are
validated again by the worker, and refused if they are not of that type.
"""

from collections.abc import Sequence
from typing import Any


def texts_in(value: object) -> tuple[str, ...]:
    """Return the strings of a list; none if it is not a list."""
    return tuple(each for each in _list(value) if isinstance(each, str))


def objects_in(value: object) -> tuple[dict[str, Any], ...]:
    """Return the objects of a list; none if it is not a list."""
    return tuple(each for each in _list(value) if isinstance(each, dict))


def _list(value: object) -> Sequence[object]:
    return value if isinstance(value, (list, tuple)) else ()
