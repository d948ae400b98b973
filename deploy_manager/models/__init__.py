"""The tables: inventory, packages, releases, deployments and upgrades."""

from deploy_manager.models.advisories import Advisory, AuditedVersion
from deploy_manager.models.approvals import Approval
from deploy_manager.models.audit import AuditEvent
from deploy_manager.models.commit_statuses import CommitStatus
from deploy_manager.models.credentials import Credential
from deploy_manager.models.deployments import Deployment
from deploy_manager.models.environments import Environment
from deploy_manager.models.freezes import Freeze
from deploy_manager.models.inventory import Project, Server
from deploy_manager.models.overrides import Override
from deploy_manager.models.packages import IndexedPackage, InstalledPackage
from deploy_manager.models.placements import Placement
from deploy_manager.models.plans import ConfirmedPlan
from deploy_manager.models.policies import (
    IgnoredPackage,
    PolicyEnvironment,
    PolicyRun,
    UpgradePolicy,
)
from deploy_manager.models.problems import Problem
from deploy_manager.models.processes import Process
from deploy_manager.models.releases import Release
from deploy_manager.models.requirements import LockFile, Requirement
from deploy_manager.models.resolutions import Resolution
from deploy_manager.models.runs import ROLLBACK_PHASE, HostRun, LogChunk, Step
from deploy_manager.models.schedules import Notification, Schedule
from deploy_manager.models.secret_variables import SecretVariable
from deploy_manager.models.shards import Shard
from deploy_manager.models.states import BROKEN, BUSY, LIVE, TO_RETRY, ShardState, State
from deploy_manager.models.tiers import Tier
from deploy_manager.models.tokens import IdempotencyKey, Token
from deploy_manager.models.upgrades import (
    UPGRADE_LIVE,
    OnFailure,
    Upgrade,
    UpgradeStage,
    UpgradeState,
)
from deploy_manager.models.watches import SeenProcess, Watch
from deploy_manager.models.webhooks import (
    IncomingWebhook,
    OutgoingDelivery,
    OutgoingWebhook,
    WebhookDelivery,
)

__all__ = [
    "BROKEN",
    "BUSY",
    "LIVE",
    "ROLLBACK_PHASE",
    "TO_RETRY",
    "UPGRADE_LIVE",
    "Advisory",
    "Approval",
    "AuditEvent",
    "AuditedVersion",
    "CommitStatus",
    "ConfirmedPlan",
    "Credential",
    "Deployment",
    "Environment",
    "Freeze",
    "HostRun",
    "IdempotencyKey",
    "IgnoredPackage",
    "IncomingWebhook",
    "IndexedPackage",
    "InstalledPackage",
    "LockFile",
    "LogChunk",
    "Notification",
    "OnFailure",
    "OutgoingDelivery",
    "OutgoingWebhook",
    "Override",
    "Placement",
    "PolicyEnvironment",
    "PolicyRun",
    "Problem",
    "Process",
    "Project",
    "Release",
    "Requirement",
    "Resolution",
    "Schedule",
    "SecretVariable",
    "SeenProcess",
    "Server",
    "Shard",
    "ShardState",
    "State",
    "Step",
    "Tier",
    "Token",
    "Upgrade",
    "UpgradePolicy",
    "UpgradeStage",
    "UpgradeState",
    "Watch",
    "WebhookDelivery",
]
