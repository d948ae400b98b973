"""Packages for programs: pins that change, overrides, who runs what, what is vulnerable."""

from typing import Any

from deploy_manager.models import Placement
from deploy_manager.packages.downgrades import ChangedPin
from deploy_manager.packages.exposure import Exposure, Running, Unknown
from deploy_manager.packages.overrides import StandingOverride


def pin_as_json(pin: ChangedPin) -> dict[str, Any]:
    return {
        "name": pin.name,
        "before": pin.before,
        "after": pin.after,
        "goes_back": pin.goes_back,
        "taken_back": pin.is_taken_back,
        "advisories": list(pin.advisories),
        "undoes": pin.undoes,
        "details": [detail.value for detail in pin.details],
    }


def override_as_json(override: StandingOverride) -> dict[str, Any]:
    row = override.rows[0]
    return {
        "name": override.name,
        "version": override.version,
        "repository": override.repository,
        "standing": override.standing.value,
        "holds": override.holds,
        "outcome": override.outcome,
        "why": row.why,
        "fixes": row.fixes,
        "since": row.since.isoformat(),
        "upgrade": row.upgrade_id,
    }


def place_as_json(placement: Placement) -> dict[str, str]:
    return {"environment": str(placement.environment), "server": placement.server.name}


def running_as_json(running: Running, *, is_comparable: bool) -> dict[str, Any]:
    return {
        **place_as_json(running.placement),
        "version": running.version,
        "is_comparable": is_comparable,
    }


def exposure_as_json(exposed: Exposure) -> dict[str, Any]:
    advisories = [
        {
            "identifier": advisory.identifier,
            "aliases": advisory.aliases,
            "summary": advisory.summary,
            "fixed_in": advisory.fixed_in,
            "url": advisory.url,
        }
        for advisory in exposed.advisories
    ]
    return {
        **_version_as_json(exposed),
        "pinned": exposed.pinned,
        "fixed_in": exposed.fixed_in,
        "advisories": advisories,
    }


def unknown_as_json(unknown: Unknown) -> dict[str, Any]:
    return {**_version_as_json(unknown), "problem": unknown.problem}


def unseen_as_json(placement: Placement) -> dict[str, Any]:
    return {**place_as_json(placement), "problem": placement.inventory_problem}


def _version_as_json(found: Exposure | Unknown) -> dict[str, Any]:
    return {
        "environment": str(found.environment),
        "package": found.name,
        "version": found.version,
        "servers": [placement.server.name for placement in found.placements],
    }
