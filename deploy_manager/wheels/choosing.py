"""Choose a file of the index for a pin: the best wheel that fits, else the sdist."""

from collections.abc import Iterable, Sequence

from django.utils.translation import gettext_noop as _
from packaging.utils import InvalidWheelFilename, parse_wheel_filename
from pypi_simple import DistributionPackage

from deploy_manager.drift import is_version
from deploy_manager.exceptions import WheelError
from deploy_manager.messages import Message
from deploy_manager.requirements.pins import Pin
from deploy_manager.wheels.python import ServerPython


def choose(
    pin: Pin, files: Iterable[DistributionPackage], python: ServerPython
) -> DistributionPackage:
    """Return the best wheel that fits and that the lock allows, else the sdist that it allows.

    Raises WheelError, which lists what the index offers instead.
    """
    offered = [one for one in files if is_version(one.version or "", pin.version)]
    if not offered:
        raise WheelError(
            _("The package index has no %(name)s %(version)s."), name=pin.name, version=pin.version
        )
    known = [one for one in offered if may_be(one, pin)]
    wheels = [(found, one) for one in known if (found := rank(one, python)) is not None]
    if wheels:
        return min(wheels, key=lambda pair: pair[0])[1]
    # Only now: an sdist has to be built, which runs its code.
    sdists = [one for one in known if one.package_type == "sdist"]
    if sdists:
        return sdists[0]
    raise WheelError(_why_none(pin, offered, known, python))


def may_be(file: DistributionPackage, pin: Pin) -> bool:
    """Whether the lock may allow a file, by the hashes that the index gives."""
    listed = {f"{algorithm}:{digest}" for algorithm, digest in file.digests.items()}
    # An index may give only other algorithms than the lock: then the file is compared when it came.
    comparable = {one.partition(":")[0] for one in pin.hashes} & file.digests.keys()
    return not pin.hashes or not comparable or not listed.isdisjoint(pin.hashes)


def rank(file: DistributionPackage, python: ServerPython) -> tuple[int, int, str] | None:
    """Return a wheel's rank, of which the lowest is best; None if it does not fit."""
    try:
        _name, _version, build, tags = parse_wheel_filename(file.filename)
    except InvalidWheelFilename:
        return None
    ranks = [python.ranks[tag] for tag in tags if tag in python.ranks]
    # As pip prefers them: the best tag, then the highest build number.
    return (min(ranks), -build[0] if build else 0, file.filename) if ranks else None


def _why_none(
    pin: Pin,
    offered: Sequence[DistributionPackage],
    known: Sequence[DistributionPackage],
    python: ServerPython,
) -> Message:
    names = ", ".join(one.filename for one in offered[:5])
    if not known:
        return Message(
            _(
                "The files that the package index offers for %(name)s %(version)s (%(files)s) have"
                " other hashes than the lock: nothing was installed. They may have been replaced:"
                " lock it again only if you know why."
            ),
            name=pin.name,
            version=pin.version,
            files=names,
        )
    return Message(
        _(
            "No wheel of %(name)s %(version)s that the lock allows fits %(python)s, and there is no"
            " sdist to build one from. The index offers %(files)s."
        ),
        name=pin.name,
        version=pin.version,
        python=python,
        files=names,
    )
