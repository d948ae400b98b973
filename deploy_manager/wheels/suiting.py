"""Whether pins suit the Pythons of servers and each other, by what an index offers for them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from django.utils.translation import gettext_noop as _
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deploy_manager.messages import Message, few, join
from deploy_manager.requirements.compiling import describe
from deploy_manager.requirements.pins import Pin
from deploy_manager.requirements.targets import Target
from deploy_manager.wheels.choosing import rank
from deploy_manager.wheels.offers import Offer
from deploy_manager.wheels.other_pythons import applies, by_target
from deploy_manager.wheels.python import python_of

BUILD_THEM = Message(
    _(
        "Choose a builder in the environment, which builds them for all servers, or pin versions"
        " that have a wheel."
    )
)
BUILT_THERE = Message(
    _("Each server builds them itself, if it has what they need, such as a compiler.")
)
OTHER_FILES = Message(_("Pin versions that have a wheel for these servers."))
PIN_ALL = _(
    "Pin everything that is needed: uv pip compile --generate-hashes --no-strip-extras"
    " requirements.in -o requirements.txt; or have it found: manage.py import_requirements"
    " %(site)s requirements.in --lock --use."
)


def unfit_files(
    offers: Iterable[Offer], servers: Mapping[str, Target]
) -> tuple[list[Message], list[Message]]:
    """Return a line for each pin without a file for some servers, and for each that is to be built.

    Pins of which the index has no file at all, and servers whose wheels can't be told from their
    facts, are left out.
    """
    unfit: list[Message] = []
    to_build: list[Message] = []
    names = by_target(servers)
    pythons = {target: python for target in names if (python := python_of(target))}
    for offer in offers:
        without = [
            target
            for target, python in pythons.items()
            if applies(offer.pin, target)
            and all(rank(wheel, python) is None for wheel in offer.wheels)
        ]
        if not without or not offer.files:
            continue
        words = {
            "package": f"{offer.pin.name} {offer.pin.version}",
            "servers": few([name for target in without for name in names[target]]),
            "python": join(map(_in_full, without)),
        }
        if len(offer.wheels) == len(offer.files):
            text = _(
                "%(package)s has no wheel for %(servers)s (%(python)s), and no sdist to build one"
                " from. The package index offers %(files)s."
            )
            files = few([one.filename for one in offer.files], 3)
            unfit.append(Message(text, **words, files=files))
        else:
            text = _("%(package)s has no wheel for %(servers)s (%(python)s), only an sdist.")
            to_build.append(Message(text, **words))
    return unfit, to_build


def _in_full(target: Target) -> str:
    return f"{describe(target)}, {target.libc}"


def unpinned_needs(offers: Sequence[Offer], pins: Sequence[Pin], target: Target) -> list[Message]:
    """Return a line for each requirement of a pin that the pins do not fulfil on this Python."""
    here = [pin for pin in pins if applies(pin, target)]
    lines: list[Message] = []
    for offer in offers:
        if offer.pin in here:
            lines += [
                line
                for need in offer.needs or ()
                if _is_needed(need, offer.pin, target)
                for line in _unfulfilled(need, offer.pin, here)
            ]
    return list(dict.fromkeys(lines))


def _is_needed(need: Requirement, pin: Pin, target: Target) -> bool:
    return need.marker is None or any(
        need.marker.evaluate({**target.markers, "extra": extra}) for extra in ("", *pin.extras)
    )


def _unfulfilled(need: Requirement, by: Pin, pins: Sequence[Pin]) -> Iterator[Message]:
    name = canonicalize_name(need.name)
    pinned = [pin for pin in pins if pin.name == name]
    words = {"package": f"{by.name} {by.version}", "need": f"{name}{need.specifier}"}
    if not pinned:
        yield Message(_("%(package)s needs %(need)s, which is not pinned."), **words)
    # The version of a commit is unknown.
    elif not any(
        pin.is_commit or need.specifier.contains(pin.version, prereleases=True) for pin in pinned
    ):
        versions = ", ".join(pin.version for pin in pinned)
        yield Message(
            _("%(package)s needs %(need)s, but %(version)s is pinned."), **words, version=versions
        )
