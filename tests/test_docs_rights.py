"""The page on rights can be followed: its five people may do what it says."""

import sys

from tests.parts.new_project import TOP, NewProject

ROWS = """
from deploy_manager.models import *
shop = Project.objects.create(name="shop", repository="/srv/shop.git")
for name, server in (("staging", "web-staging"), ("production", "web")):
    site = shop.environments.create(name=name, deploy_path="/srv/" + name)
    host = Server.objects.create(name=server, address="192.0.2.1", user="shop-" + name)
    Placement.objects.create(environment=site, server=host)
"""
ASK = """
from django.contrib.auth.models import User
from deploy_manager.models import *
from deploy_manager.models.rights import *
rows = [*Environment.objects.order_by("-name"), *Server.objects.order_by("-name")]
for user in User.objects.order_by("username"):
    for row in rows:
        rights = ON_SERVER if isinstance(row, Server) else ON_ENVIRONMENT
        words = [right.codename.rpartition("_")[0] for right in rights if may(user, right, row)]
        print(user.username, row, ":", *words)
"""
RUN = "deploy roll_back run_recipe upgrade"
TOLD = f"""
administrator1 shop/staging : view view_log {RUN} approve freeze change change_secrets delete
administrator1 shop/production : view view_log {RUN} approve freeze change change_secrets delete
administrator1 web-staging : view use change delete
administrator1 web : view use change delete
deployer1 shop/staging :
deployer1 shop/production : view view_log {RUN} freeze
deployer1 web-staging :
deployer1 web :
developer1 shop/staging : view view_log {RUN} freeze change change_secrets
developer1 shop/production : view view_log
developer1 web-staging : view use
developer1 web :
developer2 shop/staging : view view_log {RUN} freeze change change_secrets
developer2 shop/production : view view_log
developer2 web-staging : view use
developer2 web :
lead1 shop/staging :
lead1 shop/production : view view_log approve freeze change change_secrets
lead1 web-staging :
lead1 web : view use
"""


def test_the_page_can_be_followed(new_project: NewProject) -> None:
    new_project.run(sys.executable, "manage.py", "shell", "-v0", "-c", ROWS)
    text = (TOP / "docs/rights.md").read_text()
    # It is installed already, and by no package index.
    new_project.follow_text(text.replace('pip install "deploy-manager[manager,guardian]"', "true"))
    told = new_project.run(sys.executable, "manage.py", "shell", "-v0", "-c", ASK)
    assert [line.rstrip() for line in told.splitlines()] == TOLD.strip().splitlines()
