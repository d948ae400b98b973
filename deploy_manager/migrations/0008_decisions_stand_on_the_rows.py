from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps

TITLES = {
    "preflight": "Preflight",
    "prepare": "Prepare",
    "migrate": "Migrate",
    "activate": "Activate",
    "verify": "Verify",
    "clean_up": "Clean up",
    "run": "Run",
    "roll_back": "Roll back",
}
NO_GATES = ("activate", "verify", "clean_up", "run", "roll_back")
IN_WAVES = ("activate", "verify")
ONCE = ("migrate", "show_migrations", "reverse_migrations")
OF_THE_NEWEST = (
    "make_virtualenv",
    "install_requirements",
    "collect_static",
    "check",
    "smoke",
    "show_migrations",
    "migrate",
    "activate",
)
LIVE = ("waiting", "queued", "running")


def write_what_was_decided(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Steps as our own stories had them; a phase of a project's own stays a gate, to be safe."""
    using = schema_editor.connection.alias
    steps = apps.get_model("deploy_manager", "Step").objects.using(using)
    for phase, title in TITLES.items():
        steps.filter(phase=phase).update(phase_title=title)
    steps.filter(phase__in=NO_GATES).update(gate=False)
    steps.filter(phase__in=IN_WAVES).update(in_waves=True)
    steps.filter(recipe__in=ONCE).update(once=True)
    deployments = apps.get_model("deploy_manager", "Deployment").objects.using(using)
    stages = apps.get_model("deploy_manager", "UpgradeStage").objects.using(using)
    for row in deployments.filter(state__in=LIVE).select_related("environment"):
        is_upgrade, environment = row.recipe == "upgrade", row.environment
        soaks = stages.filter(deployment=row).values_list("upgrade__soak", flat=True)
        row.pause = max([environment.pause, *soaks])
        row.max_failures = "0" if is_upgrade else environment.max_failures
        row.rolls_back = is_upgrade or environment.rollback_on_failure
        row.uses = uses_of(row.recipe, row.release_id, row.ref)
        row.sends_code = row.uses in ("new", "given")
        row.save(update_fields=["pause", "max_failures", "rolls_back", "uses", "sends_code"])


def uses_of(recipe: str, release: int | None, ref: str) -> str:
    """Which release a row works on: a branch stands only where a new one is to be made."""
    if release or recipe in ("rollback", "converge", "upgrade"):
        return "given"
    if ref:
        return "new"
    return "newest" if recipe in OF_THE_NEWEST else "current"


class Migration(migrations.Migration):
    dependencies = [
        ("deploy_manager", "0007_names_that_git_allows"),
    ]

    operations = [
        migrations.AddField(
            model_name="deployment",
            name="max_failures",
            field=models.CharField(
                blank=True, max_length=10, verbose_name="failures that are borne"
            ),
        ),
        migrations.AddField(
            model_name="deployment",
            name="pause",
            field=models.PositiveIntegerField(
                default=0, help_text="Seconds between two waves.", verbose_name="pause"
            ),
        ),
        migrations.AddField(
            model_name="deployment",
            name="rolls_back",
            field=models.BooleanField(
                default=False,
                help_text="Whether servers that were switched go back where it fails.",
                verbose_name="goes back",
            ),
        ),
        migrations.AddField(
            model_name="deployment",
            name="sends_code",
            field=models.BooleanField(
                default=False,
                help_text="Whether a step of it makes a release.",
                verbose_name="sends code",
            ),
        ),
        migrations.AddField(
            model_name="deployment",
            name="uses",
            field=models.CharField(
                choices=[
                    ("new", "a new one"),
                    ("newest", "the newest one made"),
                    ("current", "the one that serves"),
                    ("given", "an earlier one"),
                ],
                default="current",
                max_length=10,
                verbose_name="works on",
            ),
        ),
        migrations.AddField(
            model_name="step",
            name="gate",
            field=models.BooleanField(
                default=True,
                help_text="Whether too many failures in its phase stop the deployment.",
                verbose_name="gate",
            ),
        ),
        migrations.AddField(
            model_name="step",
            name="in_waves",
            field=models.BooleanField(
                default=False,
                help_text="Whether its phase is run wave by wave.",
                verbose_name="in waves",
            ),
        ),
        migrations.AddField(
            model_name="step",
            name="once",
            field=models.BooleanField(
                default=False,
                help_text="Whether it stands for all servers, or all of a role.",
                verbose_name="once",
            ),
        ),
        migrations.AddField(
            model_name="step",
            name="phase_title",
            field=models.CharField(blank=True, max_length=100, verbose_name="title of the phase"),
        ),
        migrations.AddConstraint(
            model_name="deployment",
            constraint=models.CheckConstraint(
                condition=models.Q(("uses__in", ["new", "newest", "current", "given"])),
                name="a_deployment_uses_a_known_release",
            ),
        ),
        migrations.RunPython(write_what_was_decided, migrations.RunPython.noop),
    ]
