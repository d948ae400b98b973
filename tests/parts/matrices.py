"""Long matrices: a few of a kind are tried each time, all of them with --long, as CI does."""

from typing import Any

import pytest


def few(*cases: Any, first: int = 1) -> list[Any]:
    """Return cases for `parametrize`, those after the first ones marked as long.

    A case is a value, or a tuple of several.
    """
    rest = [case if isinstance(case, tuple) else (case,) for case in cases[first:]]
    return [*cases[:first], *(pytest.param(*each, marks=pytest.mark.long) for each in rest)]
