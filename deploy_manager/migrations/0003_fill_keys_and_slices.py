"""Sites get their keys, and deployments of before one slice each, which has ended."""

import uuid
from typing import Any

from django.db import migrations


def fill_keys(apps: Any, schema_editor: Any) -> None:
    Environment = apps.get_model("deploy_manager", "Environment")
    for pk in Environment.objects.filter(key=None).values_list("pk", flat=True):
        Environment.objects.filter(pk=pk).update(key=uuid.uuid4())


def fill_slices(apps: Any, schema_editor: Any) -> None:
    Deployment = apps.get_model("deploy_manager", "Deployment")
    HostRun = apps.get_model("deploy_manager", "HostRun")
    Slice = apps.get_model("deploy_manager", "Slice")
    for pk in Deployment.objects.filter(slices=None).values_list("pk", flat=True):
        slice_ = Slice.objects.create(deployment_id=pk, number=1, state="ended")
        HostRun.objects.filter(deployment=pk).update(slice=slice_)


class Migration(migrations.Migration):
    dependencies = [("deploy_manager", "0002_strategies_slices_and_schedules")]

    operations = [
        migrations.RunPython(fill_keys, migrations.RunPython.noop),
        migrations.RunPython(fill_slices, migrations.RunPython.noop),
    ]
