"""Recipes: what can be run on servers. Write your own in a `recipes.py` of any installed app."""

from deploy_manager.recipes.builtin import deploy_pipeline, upgrade_pipeline
from deploy_manager.recipes.host import (
    Builder,
    Command,
    HealthCheck,
    Host,
    Process,
    Reload,
    Result,
    Site,
)
from deploy_manager.recipes.registry import (
    Phase,
    Pipeline,
    Recipe,
    Scope,
    Uses,
    add_pipeline,
    all_pipelines,
    broken_modules,
    complete_pipeline,
    get_pipeline,
    get_recipe,
    load_recipes,
    recipe,
)

__all__ = [
    "Builder",
    "Command",
    "HealthCheck",
    "Host",
    "Phase",
    "Pipeline",
    "Process",
    "Recipe",
    "Reload",
    "Result",
    "Scope",
    "Site",
    "Uses",
    "add_pipeline",
    "all_pipelines",
    "broken_modules",
    "complete_pipeline",
    "deploy_pipeline",
    "get_pipeline",
    "get_recipe",
    "load_recipes",
    "recipe",
    "upgrade_pipeline",
]
