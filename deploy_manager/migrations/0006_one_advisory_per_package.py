from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps


def name_as_told(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """An identifier that two packages share had the name of one behind it."""
    advisories = apps.get_model("deploy_manager", "Advisory").objects.using(
        schema_editor.connection.alias
    )
    for row in advisories.filter(identifier__endswith=")"):
        told = row.identifier.removesuffix(f" ({row.package})")
        if told != row.identifier:
            row.identifier = told
            row.aliases = [name for name in row.aliases if name != told]
            row.save(update_fields=["identifier", "aliases"])


class Migration(migrations.Migration):
    dependencies = [
        ("deploy_manager", "0005_packages_advisories_and_upgrades"),
    ]

    operations = [
        migrations.AlterField(
            model_name="advisory",
            name="identifier",
            field=models.CharField(
                help_text="Like GHSA-… or CVE-….", max_length=100, verbose_name="identifier"
            ),
        ),
        migrations.RunPython(name_as_told, migrations.RunPython.noop),
        migrations.AddConstraint(
            model_name="advisory",
            constraint=models.UniqueConstraint(
                fields=("identifier", "package"), name="one_advisory_per_identifier_and_package"
            ),
        ),
        migrations.AlterModelOptions(
            name="installedpackage",
            options={
                "default_permissions": ("view",),
                "ordering": ["name"],
                "verbose_name": "installed package",
                "verbose_name_plural": "packages on servers",
            },
        ),
    ]
