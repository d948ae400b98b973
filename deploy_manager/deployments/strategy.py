"""How a deployment that is asked for spreads over its servers, and what happens where it fails.

Only for what is written on its row: what carries it out reads it there.
"""

from dataclasses import dataclass

from deploy_manager.models import Environment
from deploy_manager.models.deployments import UPGRADE


@dataclass(frozen=True)
class Strategy:
    """Shares are a number of servers or a percentage of them, as on the environment."""

    in_waves: bool
    canary: str
    batch: str
    pause: int
    """Seconds between two waves."""

    max_failures: str
    rolls_back: bool


def strategy_of(environment: Environment, recipe: str) -> Strategy:
    """Return an environment's strategy for a recipe.

    An upgrade always sends a canary first, bears no failure, and goes back by itself: nobody may
    be there to watch.
    """
    in_waves = environment.strategy == Environment.Strategy.WAVES
    is_upgrade = recipe == UPGRADE
    return Strategy(
        in_waves=in_waves or is_upgrade,
        canary=(environment.canary if in_waves else "") or ("1" if is_upgrade else ""),
        batch=environment.batch if in_waves else "",
        pause=environment.pause,
        max_failures="0" if is_upgrade else environment.max_failures,
        rolls_back=environment.rollback_on_failure or is_upgrade,
    )
