"""Whether pins are for the Pythons of servers, by the Requires-Python that is known of them.

It loads no client of an index: a request asks it, too, and asks nobody.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from django.utils.translation import gettext_noop as _
from packaging.markers import Marker
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from deploy_manager.messages import Message, few, join, ngettext
from deploy_manager.requirements.pins import Pin
from deploy_manager.requirements.targets import Target
from deploy_manager.requirements.versions import parsed_version

ANOTHER_PYTHON = Message(
    _(
        "Install such a Python there and enter it as the environment's “Python”, or pin other"
        " versions."
    )
)


def other_pythons(
    needed: Iterable[tuple[Pin, str]], servers: Mapping[str, Target]
) -> list[Message]:
    """Return a line for each pin that some servers' Pythons are not for.

    `needed` are pins with their Requires-Python.
    """
    lines: list[Message] = []
    names = by_target(servers)
    for pin, specifier in needed:
        by_version: dict[str, list[str]] = defaultdict(list)
        for target in names:
            if applies(pin, target) and not _is_for(specifier, target.python):
                by_version[target.python] += names[target]
        if by_version:
            lines.append(
                Message(
                    _("%(servers)s, but %(package)s needs %(needed)s."),
                    servers=join(_have(each, version) for version, each in by_version.items()),
                    package=f"{pin.name} {pin.version}",
                    needed=_in_words(specifier),
                )
            )
    return lines


def by_target(servers: Mapping[str, Target]) -> dict[Target, list[str]]:
    """Return the names of servers by their Pythons, of which a thousand servers have a few."""
    names: dict[Target, list[str]] = defaultdict(list)
    for name, target in servers.items():
        names[target].append(name)
    return names


def _have(servers: Sequence[str], version: str) -> Message:
    return ngettext(
        "%(servers)s has Python %(version)s",
        "%(servers)s have Python %(version)s",
        len(servers),
        servers=few(servers),
        version=version,
    )


def _is_for(specifier: str, python: str) -> bool:
    """Whether a Requires-Python allows a Python; what can't be read forbids nothing."""
    version = parsed_version(python)
    try:
        return version is None or SpecifierSet(specifier).contains(version, prereleases=True)
    except InvalidSpecifier:
        return True


def _in_words(specifier: str) -> Message | str:
    parts = list(SpecifierSet(specifier))
    if len(parts) == 1 and parts[0].operator == ">=":
        return Message(_("%(version)s or later"), version=parts[0].version)
    return specifier


def applies(pin: Pin, target: Target) -> bool:
    """Whether a pin is for this Python, by its marker."""
    return not pin.marker or Marker(pin.marker).evaluate(dict(target.markers))
