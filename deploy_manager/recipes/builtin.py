"""The recipes that come with the app, and the story they make together."""

from deploy_manager.recipes import (  # noqa: F401  importing them registers them
    code,
    environments,
    maintenance,
    ping,
    project,
    releases,
    serving,
    verifying,
)
from deploy_manager.recipes.registry import Phase, Story, add_story

DEPLOY = Story(
    name="deploy",
    title="Deploy",
    phases=(
        Phase(
            "prepare",
            "Prepare",
            (
                "checkout_latest",
                "make_virtualenv",
                "install_requirements",
                "collect_static",
                "check",
            ),
            gate=True,
        ),
        Phase("migrate", "Migrate", ("migrate",), gate=True),
        Phase("activate", "Activate", ("activate", "reload")),
        Phase("verify", "Verify", ("verify",)),
        Phase("clean_up", "Clean up", ("clean_up",)),
    ),
)
add_story(DEPLOY)
