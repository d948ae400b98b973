"""From what a person types or clicks to what an upgrade is asked to move."""

from collections.abc import Sequence

from django.utils.translation import gettext as _
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from deploy_manager.exceptions import RequestRefused
from deploy_manager.models import AuditedVersion, Environment
from deploy_manager.requirements import PinWish, Reach, read_pins
from deploy_manager.runner.choices import serving_release


def wishes_for(
    words: Sequence[str], reach: Reach | None, environments: Sequence[Environment]
) -> tuple[PinWish, ...]:
    """Return the wishes of words like `django==5.2.8` and `celery`.

    A package without a version goes as far as `reach` says (None: to the latest). No words: every
    package of the environments; for a fix, every one with a known advisory.
    Raises RequestRefused for words that are no package, and where nothing is asked for.
    """
    if words:
        return tuple(_wish(word, reach or Reach.LATEST, environments) for word in words)
    if reach is None:
        raise RequestRefused(
            _("Say which packages, like django==5.2.8, or how far all of them may go.")
        )
    if reach is Reach.FIX:
        return fixes_for(environments)
    return tuple(PinWish(name, reach) for name in sorted(_pinned(environments)))


def fixes_for(environments: Sequence[Environment], name: str = "") -> tuple[PinWish, ...]:
    """Return the wishes that end what is known against the pins that serve, or one of them."""
    pinned = _pinned(environments)
    audited = AuditedVersion.objects.filter(advisories__isnull=False, name__in=pinned).distinct()
    if name:
        audited = audited.filter(name=name)
    fixed_in: dict[str, set[str]] = {}
    for each in audited.prefetch_related("advisories"):
        if each.version in pinned[each.name]:
            for advisory in each.advisories.all():
                fixed_in.setdefault(each.name, set()).update(advisory.fixed_in)
    return tuple(
        PinWish(package, Reach.FIX, fixed_in=tuple(sorted(versions, key=Version)))
        for package, versions in sorted(fixed_in.items())
    )


def _pinned(environments: Sequence[Environment]) -> dict[str, set[str]]:
    """Return the versions that serve anywhere, by package."""
    found: dict[str, set[str]] = {}
    for environment in environments:
        if release := serving_release(environment):
            for pin in read_pins(release.lock.text):
                found.setdefault(pin.name, set()).add(pin.version)
    return found


def _wish(word: str, reach: Reach, environments: Sequence[Environment]) -> PinWish:
    try:
        asked = Requirement(word)
    except InvalidRequirement:
        raise RequestRefused(_not_understood(word)) from None
    name = canonicalize_name(asked.name)
    specifiers = list(asked.specifier)
    if asked.url or asked.extras or asked.marker or len(specifiers) > 1:
        raise RequestRefused(_not_understood(word))
    if not specifiers:
        known = fixes_for(environments, name) if reach is Reach.FIX else ()
        return known[0] if known else PinWish(name, reach)
    version = specifiers[0].version
    if specifiers[0].operator != "==" or version.endswith(".*"):
        raise RequestRefused(_not_understood(word))
    return PinWish(name, Reach.EXACT, str(Version(version)))


def _not_understood(word: str) -> str:
    return _("%(word)r is not understood: write a package as django or django==5.2.8.") % {
        "word": word[:100]
    }
