"""What a repository says of its own deployments: `deploy.toml`, or a table of its pyproject.toml.

It is read from the commit by whoever plans or prepares a deployment; nothing of it is run there.
"""

import tomllib
from pathlib import PurePosixPath
from typing import Any

from django.core.exceptions import ValidationError
from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import CodeError
from deploy_manager.messages import Message, join
from deploy_manager.models.validators import validate_build_commands
from deploy_manager.requirements.line_kinds import Files

OWN_FILE = "deploy.toml"
PROJECT_FILE, TABLE = "pyproject.toml", "tool.deploy_manager"
KNOWN = ("build",)
"""What may stand there."""


def read_build_commands(files: Files, folder: str) -> tuple[str, ...]:
    """Return the build commands of a commit; none if it names none.

    What stands in the folder of manage.py goes before what stands at the top. Raises CodeError for
    a file that can't be read, unknown or wrong values, and two files in one folder.
    """
    for place in dict.fromkeys((PurePosixPath(folder), PurePosixPath())):
        own, shared = str(place / OWN_FILE), str(place / PROJECT_FILE)
        found = {
            own: _read(files, own),
            f"{shared} [{TABLE}]": _table_of(_read(files, shared), shared),
        }
        given = {where: values for where, values in found.items() if values is not None}
        if len(given) > 1:
            raise CodeError(
                _("The commit has both %(own)s and %(shared)s: keep one of them."),
                own=own,
                shared=list(given)[-1],
            )
        for where, values in given.items():
            return _build_commands(values, where)
    return ()


def _read(files: Files, path: str) -> dict[str, Any] | None:
    """Return what a file says; None if there is no such file."""
    content = files(path)
    if content is None:
        return None
    try:
        return tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise CodeError(
            _("%(path)s of the commit can't be read as TOML: %(why)s."), path=path, why=error
        ) from None


def _table_of(values: dict[str, Any] | None, path: str) -> dict[str, Any] | None:
    tool = (values or {}).get("tool", {})
    table = tool.get("deploy_manager") if isinstance(tool, dict) else None
    if table is None or isinstance(table, dict):
        return table
    raise CodeError(
        _("%(path)s of the commit: [%(table)s] is not a table."), path=path, table=TABLE
    )


def _build_commands(values: dict[str, Any], where: str) -> tuple[str, ...]:
    if unknown := sorted(set(values) - set(KNOWN)):
        raise CodeError(
            _(
                "%(where)s of the commit: %(unknown)s is not known. What may stand there:"
                " %(known)s."
            ),
            where=where,
            unknown=", ".join(map(repr, unknown)),
            known=", ".join(KNOWN),
        )
    commands = values.get("build", [])
    try:
        validate_build_commands(commands)
    except ValidationError as error:
        why = join((Message(each.message, **(each.params or {})) for each in error.error_list), " ")
        raise CodeError(
            _("%(where)s of the commit: build: %(why)s"), where=where, why=why
        ) from None
    return tuple(commands)
