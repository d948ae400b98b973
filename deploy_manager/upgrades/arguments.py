"""What people and programs ask of an upgrade, as typed, and the options that it means."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from django.utils import timezone

from deploy_manager.models import Environment, OnFailure
from deploy_manager.requirements.reach import Reach
from deploy_manager.upgrades.plan import UpgradeOptions
from deploy_manager.upgrades.words import pin_requests_for

REACHES = {
    "security": Reach.FIX,
    "patch": Reach.PATCH,
    "minor": Reach.MINOR,
    "latest": Reach.LATEST,
}


@dataclass(frozen=True)
class UpgradeArguments:
    """The arguments of an upgrade, as typed."""

    packages: Sequence[str] = ()
    """Like django==5.2.8, or celery; none: all of them."""

    reach: str = ""
    """A name of REACHES; blank: as far as the packages say, or to the latest."""

    reason: str = ""
    soak: timedelta = timedelta()
    cooldown: timedelta = timedelta()
    stops: bool = False
    """Whether the environments before one that fails stay as they are."""

    dry_run: bool = False
    take_back: bool = False
    """Whether it is agreed that packages that were not named undo an upgrade or a fix."""


def options_for(environments: Sequence[Environment], arguments: UpgradeArguments) -> UpgradeOptions:
    """Return the options that the arguments mean; without pins, there is nothing to do.

    Raises RequestRefused for words without a meaning, and PinError.
    """
    pins = pin_requests_for(
        arguments.packages, REACHES[arguments.reach] if arguments.reach else None, environments
    )
    return UpgradeOptions(
        pins=pins,
        reason=arguments.reason,
        soak=int(arguments.soak.total_seconds()),
        on_failure=OnFailure.STOP if arguments.stops else OnFailure.RETURN,
        before=timezone.now() - arguments.cooldown if arguments.cooldown else None,
        # A fix is urgent: to wait with it would leave the vulnerable version in place.
        exempt=frozenset(pin.name for pin in pins if pin.reach is Reach.FIX),
    )
