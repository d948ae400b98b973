"""The Pythons of an environment's servers, as they reported them."""

from deploy_manager.models import Environment, Placement
from deploy_manager.requirements.targets import Target


def targets_of(environment: Environment) -> tuple[Target, ...]:
    """Return the different Pythons that the servers reported; none: nobody asked them yet."""
    known = environment.placements.exclude(python_version="")
    return tuple(dict.fromkeys(map(_target, known.order_by("order", "pk"))))


def _target(placement: Placement) -> Target:
    return Target(
        python=placement.python_version,
        implementation=placement.implementation,
        platform=placement.platform,
        libc=placement.libc,
    )
