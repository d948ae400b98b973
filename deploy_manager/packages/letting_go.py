"""Letting an override go: what would come back with the next deployment, and the end of it."""

from django.utils.translation import gettext as _

from deploy_manager.exceptions import RequestRefused
from deploy_manager.logs import mask_text
from deploy_manager.models import Environment, Override
from deploy_manager.models.serving import serving_release
from deploy_manager.models.shapes import texts_in
from deploy_manager.packages.downgrades import ChangedPin, judge, parse_version
from deploy_manager.packages.overrides import versions_of
from deploy_manager.packages.pins import pins_in
from deploy_manager.requirements.pins import Pin, PinChange


def what_comes_back(environment: Environment, name: str) -> ChangedPin:
    """Return what a package's pin becomes once its overrides are let go, as far as is known.

    That is what the repository had where what serves was made; else what it had before.
    """
    rows = list(environment.overrides.live().filter(name=name))
    old = [Pin(name, row.version, marker=row.marker) for row in rows if parse_version(row.version)]
    release = serving_release(environment)
    if release and release.repository_lock:
        new = [pin for pin in pins_in(release.repository_lock.text) if pin.name == name]
    else:
        versions = {one for row in rows for one in texts_in(row.before) if parse_version(one)}
        new = [Pin(name, version) for version in sorted(versions)]
    change = PinChange(name, versions_of(old, name), versions_of(new, name))
    return judge(environment, change, old, new)


def let_go(environment: Environment, name: str, *, by: str, reason: str) -> int:
    """End a package's overrides, since somebody wants the repository's pin; return how many.

    Raises RequestRefused without a reason, and where nothing of the package is held.
    """
    reason = mask_text(reason.strip())
    if not reason:
        raise RequestRefused(_("Say why it is let go: the reason stands in the history."))
    found = environment.overrides.filter(name=name)
    if ended := found.end(Override.End.LET_GO, reason, by):
        return ended
    live = sorted(set(environment.overrides.live().values_list("name", flat=True)))
    raise RequestRefused(
        _("No override holds %(name)s on %(site)s. There are: %(known)s.")
        % {"name": name, "site": environment, "known": ", ".join(live) or _("none")}
    )
