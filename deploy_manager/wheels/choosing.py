"""Which of the files that an index offers is taken for a pin: a wheel that fits, else the sdist."""

from collections.abc import Iterable, Sequence

from packaging.utils import BuildTag, InvalidWheelFilename, parse_wheel_filename
from pypi_simple import DistributionPackage

from deploy_manager.drift import is_version
from deploy_manager.exceptions import WheelError
from deploy_manager.requirements.pins import Pin
from deploy_manager.wheels.python import ServerPython


def choose(
    pin: Pin, files: Iterable[DistributionPackage], python: ServerPython
) -> DistributionPackage:
    """Return the best wheel that fits and that the lock knows, else the sdist that it knows.

    Raises WheelError, which says what is there instead.
    """
    offered = [one for one in files if is_version(one.version or "", pin.version)]
    if not offered:
        raise WheelError(f"The package index has no {pin.name} {pin.version}.")
    known = [one for one in offered if may_be(one, pin)]
    wheels = [(rank, one) for one in known if (rank := _rank(one, python)) is not None]
    if wheels:
        return min(wheels, key=lambda pair: pair[0])[1]
    sdists = [one for one in known if one.package_type == "sdist"]
    if sdists:
        return sdists[0]
    raise WheelError(_why_none(pin, offered, known, python))


def may_be(file: DistributionPackage, pin: Pin) -> bool:
    """Whether the lock allows a file, by what the index says of it; unknown until it is fetched."""
    told = {f"{algorithm}:{digest}" for algorithm, digest in file.digests.items()}
    comparable = {one.partition(":")[0] for one in pin.hashes} & file.digests.keys()
    return not pin.hashes or not comparable or not told.isdisjoint(pin.hashes)


def _rank(file: DistributionPackage, python: ServerPython) -> tuple[int, int, str] | None:
    """How good a wheel is, the lowest being best; None where it is none that fits."""
    try:
        _name, _version, build, tags = parse_wheel_filename(file.filename)
    except InvalidWheelFilename:
        return None
    ranks = [python.ranks[tag] for tag in tags if tag in python.ranks]
    return (min(ranks), -_number(build), file.filename) if ranks else None


def _number(build: BuildTag) -> int:
    return build[0] if build else 0


def _why_none(
    pin: Pin,
    offered: Sequence[DistributionPackage],
    known: Sequence[DistributionPackage],
    python: ServerPython,
) -> str:
    names = ", ".join(one.filename for one in offered[:5])
    if not known:
        return (
            f"What the package index offers as {pin.name} {pin.version} ({names}) has other hashes"
            " than the lock: nothing was installed. Were the files exchanged? Lock it anew only"
            " if you know why."
        )
    return (
        f"No file of {pin.name} {pin.version} that the lock knows fits {python}, and there is no"
        f" sdist to build one from. The index offers {names}."
    )
