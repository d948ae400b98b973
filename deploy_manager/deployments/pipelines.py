"""Which story a name stands for on an environment."""

from deploy_manager.models import Environment
from deploy_manager.models.deployments import DEPLOY, UPGRADE
from deploy_manager.models.runs import ACTIVATE
from deploy_manager.recipes import Story, deploy_story, get_story, upgrade_story
from deploy_manager.row_checks import check_row


def story_for(environment: Environment, recipe: str) -> Story:
    """Return what a recipe's name runs: what migrates does so when the environment says.

    Raises UnknownRecipe, InvalidRow.
    """
    check_row(environment, "migrate")
    if recipe == DEPLOY:
        return deploy_story(environment.migrate)
    if recipe == UPGRADE:
        return upgrade_story(environment.migrate)
    return get_story(recipe)


def changes_what_serves(story: Story) -> bool:
    """Whether it switches servers to its release."""
    return any(recipe.name == ACTIVATE for recipe in story.recipes)
