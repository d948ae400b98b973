"""Parse what a person types or selects into the pin requests of an upgrade."""

from collections.abc import Iterable, Sequence

from django.utils.translation import gettext_noop as _
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from deploy_manager.exceptions import RequestRefused
from deploy_manager.messages import Message
from deploy_manager.models import Advisory, Environment
from deploy_manager.packages.exposure import KnownPackages
from deploy_manager.requirements.fixing import versions_that_fix
from deploy_manager.requirements.reach import PinRequest, Reach


def pin_requests_for(
    words: Sequence[str], reach: Reach | None, environments: Sequence[Environment]
) -> tuple[PinRequest, ...]:
    """Return the pin requests for words like `django==5.2.8` and `celery`.

    A package without a version moves as far as `reach` allows (None: to the latest). Without words,
    every package of the environments moves; for a fix, every one with a known advisory.

    Raises RequestRefused for words that are not packages, and if nothing is requested; PinError for
    an environment's list of requirements that can't be read.
    """
    if words:
        return tuple(_request(word, reach or Reach.LATEST, environments) for word in words)
    if reach is None:
        raise RequestRefused(
            _("Name packages, like django==5.2.8, or choose how far all of them may move.")
        )
    known = KnownPackages(environments)
    if reach is Reach.FIX:
        return fixes_for(known)
    return tuple(PinRequest(name, reach) for name in sorted(known.names))


def fixes_for(known: KnownPackages) -> tuple[PinRequest, ...]:
    """Return the pin requests that fix the known advisories of pins, as far as there are fixes."""
    against = known.advisories_of(known.pinned)
    return tuple(
        fix_for(name, found)
        for name, found in sorted(against.items())
        if any(each.first_fixed for each in found)
    )


def fix_for(name: str, advisories: Iterable[Advisory]) -> PinRequest:
    """Return the pin request that fixes those advisories of a package which have a fix."""
    fixed_in = [each.first_fixed for each in advisories if each.first_fixed]
    return PinRequest(name, Reach.FIX, fixed_in=versions_that_fix(fixed_in))


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


def _not_understood(word: str) -> Message:
    return Message(
        _("%(word)r is not a package: write it like django or django==5.2.8."), word=word[:100]
    )
