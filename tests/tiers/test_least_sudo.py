"""Tiers by an account that sudo lets run one program, and what that program refuses."""

import base64
import json
import shlex
from dataclasses import replace
from typing import Any

import pytest

from deploy_manager.exceptions import RecipeError
from deploy_manager.recipes.tiers import (
    RULES,
    VERSION,
    allowed_by,
    as_facts,
    command_of,
    installed_program,
)
from tests.parts.machine_site import MachineSite
from tests.parts.tiers import TieredSite

pytestmark = pytest.mark.machines
SITE = "shop-production"
SUDOERS = "/etc/sudoers.d/deploy"


def write_as_root(site: TieredSite, files: dict[str, str]) -> None:
    packed = base64.b64encode(json.dumps(files).encode()).decode()
    code = (
        "import base64, json, os\n"
        f"for path, text in json.loads(base64.b64decode('{packed}')).items():\n"
        "    os.makedirs(os.path.dirname(path), exist_ok=True)\n"
        "    open(path, 'w').write(text)\n"
    )
    site.machine.run(f"python3 -c {shlex.quote(code)}", "root")


def test_the_account_may_change_its_own_tiers_and_nothing_else(machine_site: MachineSite) -> None:
    site = TieredSite(machine_site)
    machine_site.machine.run("rm -f /etc/nginx/sites-enabled/default", "root")
    machine_site.deploy("r1")
    tier = site.tier("nginx")
    command = " ".join(command_of(SITE))
    rules = json.dumps(allowed_by([tier]))
    write_as_root(site, {SUDOERS: f"deploy ALL=(root) NOPASSWD: {command}\n"})
    with pytest.raises(RecipeError, match=r"manage\.py provision shop/production"):
        site.apply(tier)
    write_as_root(site, {**installed_program(), f"{RULES}/{SITE}.json": rules})

    assert "In effect." in site.apply(tier)
    assert site.ask().text == "r1"
    assert site.machine.run("sudo -n true 2>&1 || echo refused").endswith("refused\n")
    assert "In effect." in site.apply(replace(tier, names=("other.example.org",)))

    def refused(facts: dict[str, Any], command: str = command) -> bool:
        facts = {"action": "apply", "site": SITE, "keep": None, **facts}
        sent = shlex.quote(json.dumps(facts))
        said = site.machine.run(f"printf %s {sent} | sudo -n {command} 2>&1 || echo refused")
        return said.endswith("refused\n")

    honest = as_facts(tier)
    file = honest["files"][0]  # type: ignore[index]
    assert not refused({"tiers": [honest], "action": "preview"})
    assert refused({"tiers": [{**honest, "files": [{**file, "path": "/etc/cron.d/x"}]}]})
    assert refused({"tiers": [{**honest, "files": [{**file, "mode": 0o4755}]}]})
    assert refused({"tiers": [{**honest, "without_certificate": {**honest, "unit": "x.service"}}]})
    assert refused({"tiers": [{**honest, "test": ["sh", "-c", "id"]}]})
    assert refused({"tiers": [{**honest, "unit": "ssh.service"}]})
    assert refused({"tiers": [{**honest, "name": "apache"}]})
    assert refused({"tiers": [{**honest, "kind": "postgresql"}]})
    assert refused({"tiers": [], "site": "other-site"})
    assert refused({"tiers": []}, command.replace(SITE, "other-site"))
    write_as_root(site, {VERSION: "another\n"})
    with pytest.raises(RecipeError, match="of another version"):
        site.apply(tier)
