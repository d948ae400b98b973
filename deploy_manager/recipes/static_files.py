"""Static files: collected by each release for itself, and served from one folder for all of them.

A release has its own STATIC_ROOT, with its own index of hashed names: a rollback must not read a
newer one. A web server is pointed at `<deploy path>/static`, which has the files of every release
that is kept, so that a page of the release before still finds its own after the switch.
"""

import json
from contextlib import suppress
from typing import Any

from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import CommandFailed
from deploy_manager.recipes.host import Host, Result, Site
from deploy_manager.recipes.in_project import PARTS, Part, run_part
from deploy_manager.recipes.registry import Uses, recipe
from deploy_manager.recipes.shipping import run_shipped

_WITHOUT_STATIC_FILES = (
    "Unknown command: 'collectstatic'",
    "without having set the STATIC_ROOT setting",
)
_MARK = ".made"
"""See `static_files.py`: the common folder is ours."""

_SUPPOSED = Result(0, json.dumps({"root": "STATIC_ROOT", "has_index": False}), "")
"""What a dry run assumes of the project."""

PARTS["collect_static"] = Part(
    "collectstatic.py",
    lambda site: {"releases": site.releases_path, "release": site.release_path},
)


@recipe(_("Collect static files"), uses=Uses.NEWEST)
def collect_static(host: Host, site: Site) -> None:
    """Run collectstatic, and add the files to the common folder, where none is replaced yet.

    A project without STATIC_ROOT is skipped with a note. Raises CommandFailed.
    """
    release = site.require_release()
    # Not shown as it comes: where STATIC_ROOT is missing, that is a long traceback of Django's.
    result = run_part(host, site, "collect_static", assume=_SUPPOSED)
    if result.ok:
        lines, collected = _read(result.stdout)
        for line in filter(None, lines):
            host.say(line)
        if collected:
            _work_on_static_files(host, site, "add", release=release, **collected)
    elif any(words in result.stderr for words in _WITHOUT_STATIC_FILES):
        host.say("No static files were collected: the project has no STATIC_ROOT.")
    else:
        raise CommandFailed(
            _("collectstatic failed:\n%(stderr)s"),
            exit_code=result.exit_code,
            stderr=result.stderr[-1000:],
        )


def _read(printed: str) -> tuple[list[str], dict[str, Any]]:
    """Return what collectstatic printed, and the answer; none if manage.py is not Django's."""
    lines = printed.splitlines()
    with suppress(ValueError, IndexError):
        return lines[:-1], dict(json.loads(lines[-1]))
    return lines, {}


def show_static_files(host: Host, site: Site) -> None:
    """Let the common folder have a release's files under all names, also those without a hash.

    For the release that is about to serve. The others keep what only they have.
    """
    release = site.require_release()
    if _is_there(host, site, release):
        _work_on_static_files(host, site, "show", release=release)


def remove_static_files(host: Host, site: Site) -> None:
    """Remove what no release has any more from the common folder."""
    if _is_there(host, site, _MARK):
        _work_on_static_files(host, site, "remove")


def _is_there(host: Host, site: Site, name: str) -> bool:
    """Whether a release, or any by the mark, has put files into the common folder."""
    path = f"{site.tools_path}/static/{name}"
    return host.run(["test", "-e", path], check=False, quiet=True).ok


def _work_on_static_files(host: Host, site: Site, what: str, **more: object) -> None:
    facts = {"do": what, "deploy_path": site.deploy_path, **more}
    run_shipped(host, site, "static_files.py", facts)
