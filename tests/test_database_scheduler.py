"""A project that schedules by django-celery-beat's tables has the reconcile loop run by them."""

import sys
from pathlib import Path

import pytest

from tests.parts.own_project import OwnProject
from tests.parts.processes import running

SETTINGS = """
INSTALLED_APPS += ["django_celery_beat"]
CELERY_BROKER_URL = {broker!r}
"""
SCHEDULE = """
CELERY_BEAT_SCHEDULE = {
    "deploy_manager": {
        "task": "deploy_manager.reconcile",
        "schedule": 1.0,
        "options": {"expires": 5},
    },
}
"""
SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"
BEAT = ("-m", "celery", "-A", "shop", "beat", "--scheduler", SCHEDULER, "--loglevel", "info")
OWN_ENTRY = """
import django
django.setup()
from django_celery_beat.models import IntervalSchedule, PeriodicTask
every, _made = IntervalSchedule.objects.get_or_create(every=5, period="seconds")
PeriodicTask.objects.update_or_create(
    name="reconcile",
    defaults=dict(task="deploy_manager.reconcile", interval=every, enabled={enabled}),
)
"""


def append(project: OwnProject, text: str) -> None:
    with (project.folder / "settings.py").open("a") as settings:
        settings.write(text)


def is_content(project: OwnProject) -> bool:
    code, printed = project.run("python", "manage.py", "check", "--tag=deploy_manager")
    assert code == 0, printed
    return "W007" not in printed


@pytest.mark.long
@pytest.mark.celery_beat
def test_the_reconcile_is_sent(bare_project: OwnProject, redis_url: str, tmp_path: Path) -> None:
    append(bare_project, SETTINGS.format(broker=redis_url))
    assert not is_content(bare_project)  # Nobody made its tables yet, either.
    code, printed = bare_project.run("python", "manage.py", "migrate", "-v0", "--skip-checks")
    assert code == 0, printed
    for enabled in (False, True):
        bare_project.run("python", "-c", OWN_ENTRY.format(enabled=enabled))
        assert is_content(bare_project) is enabled
    bare_project.run("python", "-c", OWN_ENTRY.format(enabled=False))

    append(bare_project, SCHEDULE)
    assert is_content(bare_project)
    log = tmp_path / "beat.log"
    with running(
        [sys.executable, *BEAT],
        lambda: "Sending due task deploy_manager (deploy_manager.reconcile)" in log.read_text(),
        log,
        environment={**bare_project.environ, "PYTHONPATH": str(bare_project.folder)},
    ):
        pass
