"""What root does for an account that sudo lets run this program: with the files that it may write.

It saves from accidents. What stands in a web server's file is read by root, and may make the
account root: `provision` says so.
"""

from __future__ import annotations

import json
from typing import Any

from .running import TierError

FOLDER = "/etc/deploy_manager"


def check(site: str, facts: dict[str, Any]) -> None:
    """Raise TierError unless each tier is one that the site may have, with its own files."""
    path = f"{FOLDER}/{site}.json"
    if facts.get("site") != site:
        raise TierError(f"This account may only change the tiers of {site}.")
    try:
        with open(path) as file:
            known = json.load(file)
    except (OSError, ValueError):
        raise TierError(f"{path} can't be read: run `manage.py provision`.") from None
    for tier in facts["tiers"]:
        rules = known.get(tier.get("name"))
        for wanted in filter(None, (tier, tier.get("without_certificate"))):
            if rules is None or not _fits(rules, tier, wanted):
                raise TierError(
                    f"{tier.get('name')} is not what {path} allows: run `manage.py provision`."
                )


def _fits(rules: dict[str, Any], tier: dict[str, Any], wanted: dict[str, Any]) -> bool:
    files = {file["path"]: [file["mode"], file["group"]] for file in wanted["files"]}
    own = wanted.get("own") or {}
    return (
        tier["kind"] == rules["kind"]
        and tier["label"] == rules["label"]
        and files.items() <= rules["files"].items()
        and list(wanted["test"]) == list(rules["test"])
        and wanted["unit"] == rules["unit"]
        and wanted["own_unit"] == rules["own_unit"]
        and all(own.get(name) == value for name, value in rules["own"].items())
    )
