"""Pipelines by name, as an environment runs them."""

from deploy_manager.models import Environment
from deploy_manager.models.deployments import DEPLOY, UPGRADE
from deploy_manager.models.runs import ACTIVATE
from deploy_manager.recipes import (
    Pipeline,
    complete_pipeline,
    deploy_pipeline,
    get_pipeline,
    upgrade_pipeline,
)
from deploy_manager.row_checks import check_row


def pipeline_for(environment: Environment, recipe: str) -> Pipeline:
    """Return the pipeline of this name with all that takes part, as the environment's options say.

    It migrates in the phase that the environment names. Raises UnknownRecipe, InvalidRow.
    """
    if recipe in (DEPLOY, UPGRADE):
        check_row(environment, "migrate", "migrate_databases")
        of_name = deploy_pipeline if recipe == DEPLOY else upgrade_pipeline
        pipeline = complete_pipeline(of_name(environment.migrate))
    else:
        pipeline = get_pipeline(recipe)
    options = {recipe.option for recipe in pipeline.recipes if recipe.option}
    if options:
        check_row(environment, *options)
    return pipeline.without([name for name in options if not getattr(environment, name)])


def changes_what_serves(pipeline: Pipeline) -> bool:
    """Whether it switches servers to its release."""
    return any(recipe.name == ACTIVATE for recipe in pipeline.recipes)
