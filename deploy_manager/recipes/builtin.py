"""The pipelines of the built-in recipes: deploy, upgrade, rollback, converge."""

from django.utils.translation import gettext_noop

from deploy_manager.recipes import (  # noqa: F401  importing them registers them
    code,
    databases,
    environments,
    installing,
    maintenance,
    ping,
    preflight,
    project,
    provisioning,
    releases,
    reversing,
    serving,
    static_files,
    tiers,
    verifying,
)
from deploy_manager.recipes.registry import Phase, Pipeline, add_pipeline

PREPARE = Phase(
    "prepare",
    gettext_noop("Prepare"),
    (
        "checkout_latest",
        "make_virtualenv",
        "install_requirements",
        "build",
        "collect_static",
        "compile_messages",
        "check",
        "smoke",
    ),
    gate=True,
)
"""Of everything that makes a release: other pins for the same code are one as well."""

MIGRATE = Phase("migrate", gettext_noop("Migrate"), ("migrate",), gate=True)
ACTIVATE = Phase("activate", gettext_noop("Activate"), ("activate", "reload"), in_waves=True)
VERIFY = Phase("verify", gettext_noop("Verify"), ("verify",), in_waves=True)
CLEAN_UP = Phase("clean_up", gettext_noop("Clean up"), ("clean_up",))
ORDERS = {
    "before": (MIGRATE, ACTIVATE, VERIFY, CLEAN_UP),
    "after": (ACTIVATE, VERIFY, MIGRATE, CLEAN_UP),
    "never": (ACTIVATE, VERIFY, CLEAN_UP),
}


def deploy_pipeline(migrate: str) -> Pipeline:
    """Return the pipeline `deploy`, with migrations `before` or `after` activation, or `never`."""
    return Pipeline("deploy", gettext_noop("Deploy"), (PREPARE, *ORDERS[migrate]))


def upgrade_pipeline(migrate: str) -> Pipeline:
    """Return the pipeline `upgrade`: the code of an existing release with other pins."""
    return Pipeline("upgrade", gettext_noop("Upgrade"), (PREPARE, *ORDERS[migrate]), given=True)


DEPLOY = deploy_pipeline("before")
add_pipeline(DEPLOY)
add_pipeline(upgrade_pipeline("before"))
ROLLBACK = Pipeline(
    "rollback",
    gettext_noop("Roll back"),
    (
        Phase("prepare", gettext_noop("Prepare"), ("check_release",), gate=True),
        Phase("migrate", gettext_noop("Migrate"), ("reverse_migrations",), gate=True),
        ACTIVATE,
        VERIFY,
    ),
)
add_pipeline(ROLLBACK)
# Without migrations: the release already serves elsewhere, and the database is common to all.
CONVERGE = Pipeline(
    "converge",
    gettext_noop("Make it like the others"),
    (
        Phase("preflight", gettext_noop("Preflight"), ("preflight",), gate=True),
        PREPARE,
        ACTIVATE,
        VERIFY,
        CLEAN_UP,
    ),
    given=True,
)
add_pipeline(CONVERGE)
