"""The page on adding a kind of tier can be followed, and pages name all kinds and options."""

import re
import sys
from pathlib import Path

import pytest

from deploy_manager.tiers.kinds import kinds
from tests.parts.new_project import NewProject

TOP = Path(__file__).parent.parent
SHOW = """
from deploy_manager.tiers.kinds import Facts, complete_options, get_kind
from deploy_manager.tiers.listening import parse_listen
kind = get_kind("haproxy")
facts = Facts(kind="haproxy", name="haproxy", site="shop/production", prefix="shop-production",
    deploy_path="/srv/shop", account="deploy", address="192.0.2.7",
    listen=(parse_listen("http://192.0.2.7"),), names=("shop.example.org",),
    options=complete_options(kind, {}), backends=("192.0.2.8:8000", "192.0.2.9:8000"))
print(kind.configure(facts).files[0].text)
"""


@pytest.mark.long
def test_the_page_on_adding_a_tier_can_be_followed(new_project: NewProject) -> None:
    new_project.run(sys.executable, "manage.py", "startapp", "shop")
    new_project.append("config/settings.py", 'INSTALLED_APPS += ["shop"]\n')
    (printed,) = new_project.follow(TOP / "docs/add-a-tier.md")
    assert "haproxy" in printed
    text = new_project.run(sys.executable, "manage.py", "shell", "-v0", "-c", SHOW)
    assert "server s2 192.0.2.9:8000 check" in text
    assert re.search(r"hdr X-Deploy-Tier [0-9a-f]{16} if", text)


def test_the_pages_name_each_kind_and_each_option() -> None:
    pages = [TOP / "docs" / name for name in ("tiers.md", "postgresql-on-its-own-server.md")]
    text = "".join(page.read_text() for page in pages)
    for kind in kinds().values():
        assert kind.name in text
        for option in kind.options:
            assert f"`{option}`" in text, f"{kind.name}: {option}"
