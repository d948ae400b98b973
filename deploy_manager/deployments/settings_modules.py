"""One settings module for every process of a site, or no deployment."""

from collections.abc import Sequence

from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import CodeError
from deploy_manager.git.mirror import Mirror
from deploy_manager.git.settings_modules import Entrance, find_entrances
from deploy_manager.messages import few
from deploy_manager.models import Environment
from deploy_manager.models.environment_parts import SETTINGS_VARIABLE
from deploy_manager.row_checks import check_row

MOST_NAMED = 10
"""Files in a message."""

TOUCH = Environment.ReloadMethod.TOUCH
STARTED_WITHOUT_VARIABLES = (TOUCH, Environment.ReloadMethod.PASSENGER)
"""Ways to serve in which a web server starts the site, and knows no variables of ours."""


def refuse_several_settings(environment: Environment, mirror: Mirror, commit: str) -> None:
    """Raise CodeError if processes of a commit would run with different settings modules.

    Its files are read as text. A module that the environment names wins where it can: where a file
    replaces it, or is started without it, that file has to name the same. Raises InvalidRow.
    """
    check_row(environment, "settings_module", "variables", "reload_target", "wsgi_application")
    entrances = find_entrances(
        mirror.files(commit),
        environment.project.folder,
        lambda path: mirror.read_file(commit, path),
        also=_served_files(environment),
    )
    if module := environment.settings_module or environment.variables.get(SETTINGS_VARIABLE, ""):
        _refuse_others(environment, module, entrances, commit)
    elif not _agree(entrances):
        raise CodeError(
            _(
                "Commit %(commit)s has several settings modules: %(files)s. Each process would run"
                " with that of its own file, and migrate another database than the site uses:"
                " enter one as the environment's settings module, which all of them then use."
            ),
            commit=commit[:8],
            files=few([str(each) for each in entrances], MOST_NAMED),
        )


def _served_files(environment: Environment) -> list[str]:
    """Return the files that serve the site, relative to the folder of manage.py."""
    module = environment.wsgi_application.partition(":")[0]
    files = [f"{module.replace('.', '/')}.py"] if module else []
    touched = {target for method, target in environment.reloads if method == TOUCH and target}
    return [*files, *sorted(touched)]


def _agree(entrances: Sequence[Entrance]) -> bool:
    """Whether one module is named by all; a file may name several, behind conditions."""
    return not entrances or bool(set.intersection(*(set(each.modules) for each in entrances)))


def _refuse_others(
    environment: Environment, module: str, entrances: Sequence[Entrance], commit: str
) -> None:
    for entrance in entrances:
        if entrance.forced and module not in entrance.forced:
            raise CodeError(
                _(
                    "%(path)s of commit %(commit)s sets DJANGO_SETTINGS_MODULE to %(named)s,"
                    " whatever the environment says (%(module)s): use os.environ.setdefault there,"
                    " or enter the same as the environment's settings module."
                ),
                path=entrance.path,
                commit=commit[:8],
                named=" or ".join(entrance.forced),
                module=module,
            )
        if _is_started_by_a_web_server(environment, entrance) and module not in entrance.modules:
            raise CodeError(
                _(
                    "%(path)s of commit %(commit)s names the settings module %(named)s, and the web"
                    " server starts it without the environment's (%(module)s): name that one there,"
                    " or read the site's variables there, from <deploy path>/.deploy/environment."
                ),
                path=entrance.path,
                commit=commit[:8],
                named=" or ".join(entrance.modules),
                module=module,
            )


def _is_started_by_a_web_server(environment: Environment, entrance: Entrance) -> bool:
    """Whether a web server starts a file of the code itself, which does not read our variables."""
    # A WSGI file to touch that is not named is ours, which sets the variables.
    ways = [way for way in environment.reloads if way != (TOUCH, "")]
    if entrance.reads_ours or not any(way[0] in STARTED_WITHOUT_VARIABLES for way in ways):
        return False
    return entrance.path.endswith((*_served_files(environment), "wsgi.py"))
