"""Long matrices: a few of a kind are tried each time, all of them with --long, as CI does."""

from collections.abc import Iterable
from typing import Any

import pytest


def few(*cases: Any, first: int = 1) -> Iterable[Any]:
    """Return cases for `parametrize`, those after the first ones marked as long.

    A case is a value, or a tuple of several.
    """
    yield from cases[:first]
    for case in cases[first:]:
        values = case if isinstance(case, tuple) else (case,)
        yield pytest.param(*values, marks=pytest.mark.long)
