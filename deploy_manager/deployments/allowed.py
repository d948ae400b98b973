"""Which right each engine asks for: one place, so that all of them ask for the same."""

from typing import TYPE_CHECKING

from deploy_manager.models import Environment, Schedule, UpgradePolicy
from deploy_manager.models.deployments import right_to
from deploy_manager.models.rights import Right, may

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser, User


def may_request(user: "User | AnonymousUser", environment: Environment, recipe: str) -> bool:
    """Whether a user may run a recipe or a pipeline on an environment."""
    return may(user, right_to(recipe), environment)


def may_upgrade(user: "User | AnonymousUser", environment: Environment) -> bool:
    """Whether a user may move the pins of an environment."""
    return may(user, Right.UPGRADE, environment)


def may_approve(user: "User | AnonymousUser", environment: Environment) -> bool:
    """Whether a user may decide about what waits for approval on an environment."""
    return may(user, Right.APPROVE, environment)


def sites_it_may_not(
    user: "User | AnonymousUser", actor: Schedule | UpgradePolicy
) -> list[Environment]:
    """Return the environments on which a user may not do what a schedule or a policy does."""
    if isinstance(actor, Schedule):
        is_allowed = may_request(user, actor.environment, actor.recipe)
        return [] if is_allowed else [actor.environment]
    turns = actor.turns.select_related("environment__project")
    return [turn.environment for turn in turns if not may_upgrade(user, turn.environment)]
