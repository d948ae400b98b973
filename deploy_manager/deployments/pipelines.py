"""Pipelines by name, as an environment runs them."""

from deploy_manager.models import Environment
from deploy_manager.models.deployments import DEPLOY, UPGRADE
from deploy_manager.models.runs import ACTIVATE
from deploy_manager.recipes import Pipeline, deploy_pipeline, get_pipeline, upgrade_pipeline
from deploy_manager.row_checks import check_row


def pipeline_for(environment: Environment, recipe: str) -> Pipeline:
    """Return the pipeline of this name; the environment says in which phase it migrates.

    Raises UnknownRecipe, InvalidRow.
    """
    check_row(environment, "migrate")
    if recipe == DEPLOY:
        return deploy_pipeline(environment.migrate)
    if recipe == UPGRADE:
        return upgrade_pipeline(environment.migrate)
    return get_pipeline(recipe)


def changes_what_serves(pipeline: Pipeline) -> bool:
    """Whether it switches servers to its release."""
    return any(recipe.name == ACTIVATE for recipe in pipeline.recipes)
