"""Which pins are not for the Pythons of servers, as far as rows know: nobody is asked."""

from collections.abc import Iterable, Sequence
from contextlib import suppress

from deploy_manager.credentials import index_of
from deploy_manager.messages import Message
from deploy_manager.models import Environment, IndexedPackage, Placement
from deploy_manager.models.shapes import texts_by_name
from deploy_manager.packages.targets import reported_by
from deploy_manager.requirements.pins import Pin
from deploy_manager.wheels.other_pythons import ANOTHER_PYTHON, other_pythons


def foreseen(
    environment: Environment, pins: Sequence[Pin], placements: Iterable[Placement]
) -> tuple[Message, ...]:
    """Return a line for each pin that servers' Pythons are not for, as far as rows know.

    Asks neither servers nor an index. A server may have another Python by now: its worker asks.
    """
    rows = IndexedPackage.objects.filter(
        index_url=index_of(environment), name__in={pin.name for pin in pins}
    )
    known = {row.name: texts_by_name(row.requires_python) for row in rows}
    needed = []
    for pin in pins:
        with suppress(KeyError):
            needed.append((pin, known[pin.name][pin.version]))
    lines = other_pythons(needed, reported_by(placements))
    return (*lines, ANOTHER_PYTHON) if lines else ()
