from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps


def write_when(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """From the last deployment that left a server with what it serves; unknown where none did."""
    using = schema_editor.connection.alias
    placements = apps.get_model("deploy_manager", "Placement").objects.using(using)
    steps = apps.get_model("deploy_manager", "Step").objects.using(using)
    switches = steps.filter(recipe="activate", state="succeeded").order_by("-finished_at")
    for row in placements.exclude(active_release=None):
        of_row = switches.filter(host_run__placement=row)
        there = of_row.filter(host_run__deployment__release=row.active_release_id)
        back = of_row.filter(phase="roll_back", host_run__release_before=row.active_release_id)
        ended = [step.finished_at for step in (*there.exclude(phase="roll_back")[:1], *back[:1])]
        if ended:
            placements.filter(pk=row.pk).update(activated_at=max(ended))


class Migration(migrations.Migration):
    dependencies = [
        ("deploy_manager", "0008_decisions_stand_on_the_rows"),
    ]

    operations = [
        migrations.AddField(
            model_name="placement",
            name="activated_at",
            field=models.DateTimeField(
                editable=False,
                help_text="When the active release was activated there, or first seen to be.",
                null=True,
                verbose_name="activated",
            ),
        ),
        migrations.RunPython(write_when, migrations.RunPython.noop),
    ]
