"""The tables: inventory, requirements, releases and deployments."""

from deploy_manager.models.advisories import Advisory, AuditedVersion
from deploy_manager.models.deployments import Deployment
from deploy_manager.models.environments import Environment
from deploy_manager.models.inventory import Project, Server
from deploy_manager.models.overrides import Override
from deploy_manager.models.packages import IndexedPackage, InstalledPackage
from deploy_manager.models.placements import Placement
from deploy_manager.models.policies import (
    IgnoredPackage,
    PolicyEnvironment,
    PolicyRun,
    UpgradePolicy,
)
from deploy_manager.models.problems import Problem
from deploy_manager.models.releases import Release
from deploy_manager.models.requirements import Lock, Requirement
from deploy_manager.models.resolutions import Resolution
from deploy_manager.models.runs import WAY_BACK, HostRun, LogChunk, Step
from deploy_manager.models.schedules import Notification, Schedule
from deploy_manager.models.shards import Slice
from deploy_manager.models.states import BROKEN, BUSY, LIVE, TO_RETRY, SliceState, State
from deploy_manager.models.upgrades import (
    UPGRADE_LIVE,
    OnFailure,
    Upgrade,
    UpgradeStage,
    UpgradeState,
)

__all__ = [
    "BROKEN",
    "BUSY",
    "LIVE",
    "TO_RETRY",
    "UPGRADE_LIVE",
    "WAY_BACK",
    "Advisory",
    "AuditedVersion",
    "Deployment",
    "Environment",
    "HostRun",
    "IgnoredPackage",
    "IndexedPackage",
    "InstalledPackage",
    "Lock",
    "LogChunk",
    "Notification",
    "OnFailure",
    "Override",
    "Placement",
    "PolicyEnvironment",
    "PolicyRun",
    "Problem",
    "Project",
    "Release",
    "Requirement",
    "Resolution",
    "Schedule",
    "Server",
    "Slice",
    "SliceState",
    "State",
    "Step",
    "Upgrade",
    "UpgradePolicy",
    "UpgradeStage",
    "UpgradeState",
]
