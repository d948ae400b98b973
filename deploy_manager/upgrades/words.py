"""From what a person types or clicks to what an upgrade is asked to move."""

from collections.abc import Sequence

from django.utils.translation import gettext as _
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from deploy_manager.exceptions import RequestRefused
from deploy_manager.models import Environment
from deploy_manager.packages.exposure import KnownPackages
from deploy_manager.requirements.fixing import versions_that_fix
from deploy_manager.requirements.reach import PinRequest, Reach


def pin_requests_for(
    words: Sequence[str], reach: Reach | None, environments: Sequence[Environment]
) -> tuple[PinRequest, ...]:
    """Return the requests of words like `django==5.2.8` and `celery`.

    A package without a version goes as far as `reach` says (None: to the latest). No words: every
    package of the environments; for a fix, every one with a known advisory.
    Raises RequestRefused for words that are no package, and where nothing is asked for; PinError
    for an environment's list of requirements that can't be read.
    """
    if words:
        return tuple(_request(word, reach or Reach.LATEST, environments) for word in words)
    if reach is None:
        raise RequestRefused(
            _("Say which packages, like django==5.2.8, or how far all of them may go.")
        )
    known = KnownPackages(environments)
    if reach is Reach.FIX:
        return fixes_for(known)
    return tuple(PinRequest(name, reach) for name in sorted(known.names))


def fixes_for(known: KnownPackages) -> tuple[PinRequest, ...]:
    """Return the requests that end what is known against the pins of environments, if they can."""
    fixed_in = {
        name: [each.first_fixed for each in found if each.first_fixed]
        for name, found in known.advisories_of(known.pinned).items()
    }
    return tuple(
        PinRequest(name, Reach.FIX, fixed_in=versions_that_fix(versions))
        for name, versions in sorted(fixed_in.items())
        if versions
    )


def _request(word: str, reach: Reach, environments: Sequence[Environment]) -> PinRequest:
    try:
        asked = Requirement(word)
    except InvalidRequirement:
        raise RequestRefused(_not_understood(word)) from None
    name = canonicalize_name(asked.name)
    specifiers = list(asked.specifier)
    if asked.url or asked.extras or asked.marker or len(specifiers) > 1:
        raise RequestRefused(_not_understood(word))
    if not specifiers:
        fixes = fixes_for(KnownPackages(environments, [name])) if reach is Reach.FIX else ()
        return fixes[0] if fixes else PinRequest(name, reach)
    version = specifiers[0].version
    if specifiers[0].operator != "==" or version.endswith(".*"):
        raise RequestRefused(_not_understood(word))
    return PinRequest(name, Reach.EXACT, str(Version(version)))


def _not_understood(word: str) -> str:
    return _("%(word)r is not understood: write a package as django or django==5.2.8.") % {
        "word": word[:100]
    }
