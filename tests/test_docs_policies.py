"""The page on policies can be followed, on a site that serves something vulnerable."""

import sys

import pytest

from tests.parts.index import Index
from tests.parts.new_project import TOP, NewProject

MAKE_SITE = """
from deploy_manager.models import *
from deploy_manager.requirements.completing import complete_pins
from deploy_manager.requirements.pins import lock_digest, lock_text
project = Project.objects.create(name="shop", repository="/nowhere/shop.git")
text = lock_text(complete_pins("shopkit==1.0", index_url={index!r}))
policy = UpgradePolicy.objects.create(name="nightly", cron="30 2 * * *", time_zone="Europe/Paris")
for number, name in enumerate(("staging", "production"), 1):
    environment = project.environments.create(
        name=name, deploy_path="/nowhere/" + name, index_url={index!r}
    )
    server = Server.objects.create(name=name, connection="local")
    lock = LockFile.objects.of(lock_digest(text), text)
    release = Release.objects.make(environment, "c" * 40, "Begin", lock)
    Placement.objects.create(environment=environment, server=server, active_release=release)
    policy.turns.create(environment=environment, order=number)
from django.contrib.auth.models import User
from deploy_manager.deployments.owners import take_over
take_over(policy, User.objects.create_superuser("ana"))
advisory = Advisory.objects.create(identifier="PYSEC-1", package="shopkit", fixed_in=["1.0.1"])
AuditedVersion.objects.create(name="shopkit", version="1.0").advisories.add(advisory)
"""


@pytest.mark.long
def test_the_page_can_be_followed(new_project: NewProject, package_index: Index) -> None:
    package_index.add("shopkit", "1.0")
    package_index.add("shopkit", "1.0.1")
    project = new_project
    rows = MAKE_SITE.format(index=package_index.url)
    project.run(sys.executable, "manage.py", "shell", "-v0", "-c", rows)
    listed, ran = project.follow(TOP / "docs/let-security-fixes-install-themselves.md")
    assert "shop/staging, shop/production" in listed
    assert " 02:30 CE" in listed
    assert "Upgrade #1: shopkit 1.0 → 1.0.1 (shop/staging, shop/production)." in ran
