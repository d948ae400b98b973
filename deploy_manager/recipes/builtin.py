"""The recipes that come with the app, and the story they make together."""

from django.utils.translation import gettext_noop

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
    title=gettext_noop("Deploy"),
    phases=(
        Phase(
            "prepare",
            gettext_noop("Prepare"),
            (
                "checkout_latest",
                "make_virtualenv",
                "install_requirements",
                "collect_static",
                "check",
            ),
            gate=True,
        ),
        Phase("migrate", gettext_noop("Migrate"), ("migrate",), gate=True),
        Phase("activate", gettext_noop("Activate"), ("activate", "reload")),
        Phase("verify", gettext_noop("Verify"), ("verify",)),
        Phase("clean_up", gettext_noop("Clean up"), ("clean_up",)),
    ),
)
add_story(DEPLOY)
