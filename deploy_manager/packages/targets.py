"""The Pythons of an environment's servers, from their inventories."""

from collections.abc import Iterable

from django.utils.translation import gettext_noop as _

from deploy_manager.messages import Message
from deploy_manager.models import Environment, Placement
from deploy_manager.requirements.targets import Target

NOT_DEPLOYED = Message(_("Nothing is deployed there yet."), "not_deployed")
"""Why a server has no inventory that has nothing to ask."""


def targets_of(environment: Environment) -> tuple[Target, ...]:
    """Return the different Pythons that the servers reported; none before an inventory."""
    known = environment.placements.exclude(python_version="").order_by("order", "pk")
    facts = known.values_list("python_version", "implementation", "platform", "libc")
    return tuple(dict.fromkeys(Target(*each) for each in facts))


def reported_by(placements: Iterable[Placement]) -> dict[str, Target]:
    """Return the Pythons that placements reported, by their servers' names."""
    return {
        each.server.name: Target(each.python_version, each.implementation, each.platform, each.libc)
        for each in placements
        if each.python_version
    }
