"""The settings modules that the files of a commit name, read as text: nothing of it is run."""

import ast
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

ENTRANCES = ("manage.py", "wsgi.py", "asgi.py", "celery.py", "passenger_wsgi.py")
"""The files with which processes of a Django project begin, by the custom of its templates."""

DEPTH = 4
"""Folders below that of manage.py in which they are looked for."""

MOST_CHARACTERS = 256 * 1024
"""Of a file that is read: these have a few lines, and a repository may hold anything."""

_VARIABLE = "DJANGO_SETTINGS_MODULE"
_OTHERS_FOLDERS = {"tests", "test", "docs", "venv", "env", "virtualenv", "site-packages"}
_OTHERS_FOLDERS |= {"node_modules", "build", "dist"}


@dataclass(frozen=True)
class Entrance:
    """A file with which a process begins, and the settings that it names."""

    path: str
    defaults: tuple[str, ...] = ()
    """By `os.environ.setdefault`: where the variable is not set. Several: behind conditions."""

    forced: tuple[str, ...] = ()
    """By an assignment, which replaces the variable that the process was started with."""

    reads_ours: bool = False
    """Whether it mentions the folder `.deploy`, where the site's variables are."""

    @property
    def modules(self) -> tuple[str, ...]:
        return self.forced or self.defaults

    def __str__(self) -> str:
        return f"{self.path} ({' or '.join(self.modules)})"


def find_entrances(
    files: Iterable[str], folder: str, read: Callable[[str], str | None], also: Iterable[str] = ()
) -> list[Entrance]:
    """Return the files of a project that name settings, its manage.py first.

    `files` are the paths of a commit, `folder` is that of manage.py, `also` are paths that count
    whatever their names. Other projects below the folder, which have a manage.py of their own, do
    not belong to it, nor do virtual environments and tests.
    """
    top = PurePosixPath(folder)
    paths = {PurePosixPath(path) for path in files}
    inside = {path.relative_to(top) for path in paths if path.is_relative_to(top)}
    others = {path.parent for path in inside if path.name == "manage.py" and len(path.parts) > 1}
    named = {PurePosixPath(path) for path in also}
    chosen = (path for path in inside if path in named or _is_entrance(path, others))
    ordered = sorted(chosen, key=lambda path: (len(path.parts), path.name != "manage.py", path))
    entrances = (read_entrance(str(top / path), read(str(top / path)) or "") for path in ordered)
    return [entrance for entrance in entrances if entrance.modules]


def _is_entrance(path: PurePosixPath, others: set[PurePosixPath]) -> bool:
    """Whether a path inside the project's folder is one by its name and place."""
    if path.name not in ENTRANCES or len(path.parts) > DEPTH + 1:
        return False
    return not is_of_others(str(path)) and others.isdisjoint(path.parents)


def is_of_others(path: str) -> bool:
    """Whether a file is one of tests, of a virtual environment, or hidden: not of the site."""
    folders = path.split("/")[:-1]
    return any(folder in _OTHERS_FOLDERS or folder.startswith(".") for folder in folders)


def read_entrance(path: str, text: str) -> Entrance:
    """Return what a file names; nothing if it can't be read as Python, or computes the name."""
    try:
        tree = ast.parse(text[:MOST_CHARACTERS])
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return Entrance(path)
    constants: dict[str, object] = {
        target.id: node.value.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    found: dict[bool, list[str]] = {True: [], False: []}
    for node in ast.walk(tree):
        for is_forced, where, key, value in _written(node):
            if _is_environ(where) and key and _text(key, constants) == _VARIABLE:
                found[is_forced].append(_text(value, constants))
    return Entrance(
        path,
        defaults=tuple(dict.fromkeys(filter(None, found[False]))),
        forced=tuple(dict.fromkeys(filter(None, found[True]))),
        reads_ours=".deploy" in text,
    )


def _written(node: ast.AST) -> Iterator[tuple[bool, ast.expr, ast.expr | None, ast.expr]]:
    """Yield what an expression writes into a mapping: if it is forced, where, key and value."""
    match node:
        case ast.Assign(targets=[ast.Subscript(value=where, slice=key)], value=value):
            yield True, where, key, value
        case ast.Call(func=ast.Attribute(attr="setdefault", value=where), args=[key, value]):
            yield False, where, key, value
        case ast.Call(func=ast.Attribute(attr="update", value=where), args=args, keywords=named):
            yield from ((True, where, ast.Constant(one.arg), one.value) for one in named)
            for each in args:
                if isinstance(each, ast.Dict):
                    pairs = zip(each.keys, each.values, strict=True)
                    yield from ((True, where, key, value) for key, value in pairs)


def _is_environ(node: ast.expr) -> bool:
    """Whether it is `os.environ`, or `environ` alone."""
    name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
    return name == "environ"


def _text(node: ast.expr, constants: dict[str, object]) -> str:
    """Return the text of a constant, or of a name that stands for one; blank: it is computed."""
    value: object = ""
    if isinstance(node, ast.Constant):
        value = node.value
    elif isinstance(node, ast.Name):
        value = constants.get(node.id, "")
    return value if isinstance(value, str) else ""
