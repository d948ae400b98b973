"""Programs that a site's processes need among its pins."""

from collections.abc import Iterable, Mapping

from django.utils.translation import gettext_noop as _

from deploy_manager.messages import Message
from deploy_manager.requirements.pins import Pin


def missing_programs(pins: Iterable[Pin], needed: Mapping[str, Message | str]) -> list[Message]:
    """Return a sentence for each needed package that is not pinned.

    `needed` has the normalised names of packages, and why each is needed, as part of a sentence:
    {"gunicorn": "it serves the site"}.
    """
    pinned = {pin.name for pin in pins}
    return [
        Message(_("%(name)s is not among the pins, but %(why)s: pin it."), name=name, why=why)
        for name, why in needed.items()
        if name not in pinned
    ]
