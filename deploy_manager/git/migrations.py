"""The migrations in the files of a commit, by their names: nothing of it is run."""

import re
from collections.abc import Iterable

from deploy_manager.git.settings_modules import is_of_others

# As `manage.py makemigrations` names them: other modules in the folder may be helpers.
_MIGRATION = re.compile(r"(?:.*/)?(?P<app>[^/]+)/migrations/(?P<name>\d[^/]*)\.py")


def migrations_in(files: Iterable[str]) -> set[str]:
    """Return migrations as app.name, by the folder of the app: its label may be another one."""
    found = map(_MIGRATION.fullmatch, files)
    return {f"{each['app']}.{each['name']}" for each in found if each and not is_of_others(each[0])}
