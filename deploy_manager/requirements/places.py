"""The places that markers stand for: whether they have some in common, or cover each other.

Decided by trying every place that the markers' own words tell apart. Variables count as independent
of each other, though `sys_platform` and `platform_system` are not.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import product

from packaging.markers import Marker

from deploy_manager.requirements.versions import parsed_version

MOST_PLACES = 20_000
"""With more of them nothing is decided."""

PYTHONS = ("python_version", "python_full_version")

_COMPARED = re.compile(
    r"""(?P<variable>\b[a-z_]+\b)\s*(?:[<>=!~]+|not\s+in|in)\s*(?P<quote>["'])(?P<text>.*?)(?P=quote)"""
    r"""|(?P<quote2>["'])(?P<text2>.*?)(?P=quote2)\s*(?:[<>=!~]+|not\s+in|in)\s*(?P<variable2>[a-z_]+)"""
)


def have_common_places(one: str, other: str) -> bool:
    """Whether both markers are true somewhere; also True if that can't be decided."""
    places = _places((one, other))
    return places is None or any(_holds(one, at) and _holds(other, at) for at in places)


def cover(markers: Iterable[str], other: str) -> bool:
    """Whether wherever `other` is true one of these markers is; False if it can't be decided."""
    markers = tuple(dict.fromkeys(markers))
    if "" in markers or other in markers:
        return True
    places = _places((*markers, other))
    return places is not None and all(
        any(_holds(marker, at) for marker in markers) for at in places if _holds(other, at)
    )


def common_places(one: str, other: str) -> str:
    """Return a marker for the places where both are true."""
    if cover([one], other):
        return other
    if cover([other], one):
        return one
    return str(Marker(f"({one}) and ({other})"))


def places_without(marker: str, others: Iterable[str]) -> str | None:
    """Return a marker for the places of this one that none of the others has.

    None if no marker says that: `~=` has no opposite, and some values compare with nothing.
    """
    others = list(others)
    if not others:
        return marker
    opposites = [_opposite(other) for other in others]
    if not all(opposites):
        return None
    found = str(Marker(" and ".join(f"({part})" for part in (marker, *opposites) if part)))
    is_rest = cover([found, *others], marker) and not any(
        have_common_places(found, other) for other in others
    )
    return found if is_rest else None


class _Opposite(ast.NodeTransformer):
    """Turns a condition into its opposite."""

    OPERATORS: Mapping[type[ast.cmpop], type[ast.cmpop]] = {
        ast.Eq: ast.NotEq,
        ast.NotEq: ast.Eq,
        ast.Lt: ast.GtE,
        ast.GtE: ast.Lt,
        ast.Gt: ast.LtE,
        ast.LtE: ast.Gt,
        ast.In: ast.NotIn,
        ast.NotIn: ast.In,
    }

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.BoolOp:
        operator = ast.And() if isinstance(node.op, ast.Or) else ast.Or()
        return ast.BoolOp(operator, [self.visit(value) for value in node.values])

    def visit_Compare(self, node: ast.Compare) -> ast.Compare:
        operators = [self.OPERATORS[type(operator)]() for operator in node.ops]
        return ast.Compare(node.left, operators, node.comparators)


def _opposite(marker: str) -> str:
    """Return a marker that is true where this one is not; blank if there is none.

    A marker is an expression of Python, but for `~=`, `===` and backslashes, which mean themselves.
    """
    if not marker or "\\" in marker:
        return ""
    try:
        condition = ast.parse(marker, mode="eval")
    except SyntaxError:
        return ""
    return ast.unparse(_Opposite().visit(condition))


def _holds(marker: str, at: Mapping[str, str]) -> bool:
    return not marker or _read(marker).evaluate(dict(at))


@lru_cache(maxsize=256)
def _read(marker: str) -> Marker:
    return Marker(marker)


def _places(markers: Sequence[str]) -> list[dict[str, str]] | None:
    """Return every place that these markers tell apart; None: there are too many."""
    words: dict[str, set[str]] = defaultdict(set)
    for marker in markers:
        for found in _COMPARED.finditer(marker):
            variable = found["variable"] or found["variable2"]
            words[variable].add(found["text"] if found["variable"] else found["text2"])
    pythons = {word for name in PYTHONS for word in words.pop(name, ())}
    choices = [[{name: value} for value in sorted(_values(found))] for name, found in words.items()]
    if pythons:
        choices.append([_python(version) for version in sorted(_versions(pythons))])
    count = 1
    for each in choices:
        count *= len(each)
    if count > MOST_PLACES:
        return None
    return [{k: v for part in parts for k, v in part.items()} for parts in product(*choices)]


def _values(words: Iterable[str]) -> set[str]:
    """Return each word, and one that is none of them; of versions those beside it, too."""
    values = {"", "another"}
    for word in words:
        values |= {word, *re.split(r"[\s,|]+", word)}
        version = parsed_version(word.removesuffix(".*"))
        if version is not None:
            values |= {".".join(map(str, each)) for each in _beside(version.release)}
    return values


def _versions(words: Iterable[str]) -> set[tuple[int, int, int]]:
    """Return Pythons at, below and above the versions in these words."""
    found: set[tuple[int, int, int]] = set()
    for word in words:
        for piece in re.split(r"[\s,|]+", word):
            version = parsed_version(piece.removesuffix(".*"))
            if version is not None:
                found.update((*each, 0, 0)[:3] for each in _beside(version.release))  # type: ignore[misc]
    return found or {(3, 12, 0)}


def _beside(release: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Yield versions of three numbers between which nothing compares otherwise with this one."""
    major, minor, micro = (*release, 0, 0)[:3]
    near = {(major, minor + step) for step in (-1, 0, 1)} | {(major - 1, 99), (major + 1, 0)}
    for pair in near:
        for last in {0, micro - 1, micro, micro + 1, 99}:
            if min(*pair, last) >= 0:
                yield (*pair, last)


def _python(version: tuple[int, int, int]) -> dict[str, str]:
    full = ".".join(map(str, version))
    return {"python_full_version": full, "python_version": full.rpartition(".")[0]}
