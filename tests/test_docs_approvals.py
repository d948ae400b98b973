"""The page on approvals can be followed, on a site that is deployed."""

import sys

import pytest

from tests.parts.new_project import TOP, NewProject
from tests.test_docs_deploying import shop

__all__ = ["shop"]

MAKE_USER = """
from django.contrib.auth.models import User
User.objects.create_user("ann", password="well-kept", is_staff=True)
"""
TELL = """
from deploy_manager.models import *
print(*Approval.objects.values_list("user_name", "decision", "reason"))
print(*Deployment.objects.filter(breaks_glass=True).values_list("reason", flat=True))
"""


@pytest.mark.long
def test_the_page_can_be_followed(shop: NewProject) -> None:
    shop.run(sys.executable, "manage.py", "shell", "-v0", "-c", MAKE_USER)
    (shop.folder / "password.txt").write_text("well-kept\n")
    page = (TOP / "docs/approvals.md").read_text()
    # Three deployments came before.
    printed = shop.follow_text(page.replace("approve 1 ", "approve 4 "))
    _, waiting, listed, approved, schedules, policies, _ = printed
    assert "Waits for approval: 0 of 1." in " ".join(waiting.split())
    assert "Waits for approval" in " ".join(listed.split())
    assert "approved." in approved
    assert "There is no schedule yet" in schedules
    assert "There is no policy yet" in policies
    told = shop.run(sys.executable, "manage.py", "shell", "-v0", "-c", TELL)
    assert "('ann', 'approved', 'Reviewed')" in told
    assert "The shop is down" in told
