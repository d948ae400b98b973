import uuid

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("deploy_manager", "0003_fill_keys_and_slices")]

    operations = [
        migrations.AlterField(
            model_name="environment",
            name="key",
            field=models.UUIDField(
                default=uuid.uuid4,
                editable=False,
                help_text="Names the site in the files of the guards on its servers.",
                unique=True,
            ),
        ),
        migrations.AlterField(
            model_name="hostrun",
            name="slice",
            field=models.ForeignKey(
                editable=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="host_runs",
                to="deploy_manager.slice",
                verbose_name="slice",
            ),
        ),
    ]
