"""The admin: inventory to edit, deployments to start and to watch, history to read."""

from deploy_manager.admin.audit import AuditEventAdmin
from deploy_manager.admin.deployments.history import DeploymentAdmin
from deploy_manager.admin.deployments.releases import ReleaseAdmin
from deploy_manager.admin.deployments.statuses import CommitStatusAdmin
from deploy_manager.admin.inventory.credentials import CredentialAdmin
from deploy_manager.admin.inventory.environments import EnvironmentAdmin
from deploy_manager.admin.inventory.projects import ProjectAdmin
from deploy_manager.admin.inventory.servers import ServerAdmin
from deploy_manager.admin.packages.advisories import AdvisoryAdmin
from deploy_manager.admin.packages.lock_files import LockFileAdmin
from deploy_manager.admin.packages.matrix import InstalledPackageAdmin
from deploy_manager.admin.packages.overrides import OverrideAdmin
from deploy_manager.admin.packages.requirements import RequirementAdmin
from deploy_manager.admin.tokens import TokenAdmin
from deploy_manager.admin.upgrades.page import UpgradeAdmin
from deploy_manager.admin.upgrades.policies import PolicyRunAdmin, UpgradePolicyAdmin
from deploy_manager.admin.webhooks.incoming import IncomingWebhookAdmin

__all__ = [
    "AdvisoryAdmin",
    "AuditEventAdmin",
    "CommitStatusAdmin",
    "CredentialAdmin",
    "DeploymentAdmin",
    "EnvironmentAdmin",
    "IncomingWebhookAdmin",
    "InstalledPackageAdmin",
    "LockFileAdmin",
    "OverrideAdmin",
    "PolicyRunAdmin",
    "ProjectAdmin",
    "ReleaseAdmin",
    "RequirementAdmin",
    "ServerAdmin",
    "TokenAdmin",
    "UpgradeAdmin",
    "UpgradePolicyAdmin",
]
