"""Recipes: what can be run on servers. Write your own in a `recipes.py` of any installed app."""

from deploy_manager.recipes.builtin import deploy_story, upgrade_story
from deploy_manager.recipes.host import Builder, Command, HealthCheck, Host, Reload, Result, Site
from deploy_manager.recipes.registry import (
    Phase,
    Recipe,
    Scope,
    Story,
    Uses,
    add_story,
    all_stories,
    broken_modules,
    get_recipe,
    get_story,
    load_recipes,
    recipe,
)

__all__ = [
    "Builder",
    "Command",
    "HealthCheck",
    "Host",
    "Phase",
    "Recipe",
    "Reload",
    "Result",
    "Scope",
    "Site",
    "Story",
    "Uses",
    "add_story",
    "all_stories",
    "broken_modules",
    "deploy_story",
    "get_recipe",
    "get_story",
    "load_recipes",
    "recipe",
    "upgrade_story",
]
