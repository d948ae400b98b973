"""Which story a name stands for on an environment."""

from deploy_manager.models import Environment
from deploy_manager.recipes import Story, deploy_story, get_story

DEPLOY = "deploy"


def story_for(environment: Environment, recipe: str) -> Story:
    """Return what a recipe's name runs: `deploy` migrates when the environment says so.

    Raises UnknownRecipe.
    """
    if recipe == DEPLOY:
        return deploy_story(environment.migrate)
    return get_story(recipe)
