"""Reading a JSON field whose row may have been written around every form.

A page shows what is of the expected kind, instead of failing. What decides what runs is validated
by whoever runs it, and refused where it is not of that kind.
"""

from collections.abc import Sequence
from typing import Any


def texts_in(value: object) -> tuple[str, ...]:
    """Return the texts of a list; none where it is no list."""
    return tuple(each for each in _list(value) if isinstance(each, str))


def objects_in(value: object) -> tuple[dict[str, Any], ...]:
    """Return the objects of a list; none where it is no list."""
    return tuple(each for each in _list(value) if isinstance(each, dict))


def _list(value: object) -> Sequence[object]:
    return value if isinstance(value, (list, tuple)) else ()
