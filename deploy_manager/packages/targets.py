"""The Pythons of an environment's servers, from their inventories."""

from deploy_manager.models import Environment
from deploy_manager.requirements.targets import Target


def targets_of(environment: Environment) -> tuple[Target, ...]:
    """Return the different Pythons that the servers reported; none before an inventory."""
    known = environment.placements.exclude(python_version="").order_by("order", "pk")
    facts = known.values_list("python_version", "implementation", "platform", "libc")
    return tuple(dict.fromkeys(Target(*each) for each in facts))
