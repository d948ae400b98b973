"""Where advisories come from: what a source promises, and which ones the settings name.

A new kind of source is a file like `file_source.py`, here or in a project: the setting ADVISORIES
has the dotted path of its class, which is called without arguments.
"""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Protocol, cast

from django.utils.module_loading import import_string
from django.utils.translation import gettext_noop as _

from deploy_manager.advisories.advice import Advice, Pair
from deploy_manager.advisories.file_source import FileSource
from deploy_manager.advisories.osv_source import OsvSource
from deploy_manager.exceptions import ConfigurationError


class Source(Protocol):
    """Somebody who knows advisories."""

    name: str
    """As people are shown it; without credentials."""

    def advise(self, pairs: Collection[Pair], timeout: float) -> Mapping[Pair, Advice]:
        """Return what is known against versions, all of it asked for within `timeout` seconds.

        Names are normalised, versions public. A version that the source does not know is left out:
        without an advisory it would count as safe. One of which a part is unknown has a problem.
        Raises AdvisoriesUnavailable, with the reason, if the source does not answer at all.
        """
        ...  # pragma: no cover


def sources_of(entries: Iterable[str | Path]) -> list[Source]:
    """Return the sources that the setting ADVISORIES names, in order. Raises ConfigurationError."""
    return [_source_of(entry) for entry in entries]


def _source_of(entry: str | Path) -> Source:
    if isinstance(entry, Path):
        return FileSource(entry)
    if "://" in entry:
        return OsvSource(entry)
    try:
        return cast(Source, import_string(entry)())
    except ImportError as error:
        raise ConfigurationError(
            _("DEPLOY_MANAGER['ADVISORIES']: %(entry)s can't be imported: %(error)s"),
            entry=entry,
            error=error,
        ) from error
