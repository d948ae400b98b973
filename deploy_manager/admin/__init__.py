"""The door with a mouse: inventory to edit, deployments to start and to watch, history to read."""

from deploy_manager.admin.advisories import AdvisoryAdmin
from deploy_manager.admin.deployments import DeploymentAdmin
from deploy_manager.admin.environments import EnvironmentAdmin
from deploy_manager.admin.history import LockAdmin
from deploy_manager.admin.overrides import OverrideAdmin
from deploy_manager.admin.packages.matrix import InstalledPackageAdmin
from deploy_manager.admin.projects import ProjectAdmin
from deploy_manager.admin.releases import ReleaseAdmin
from deploy_manager.admin.requirements import RequirementAdmin
from deploy_manager.admin.servers import ServerAdmin
from deploy_manager.admin.upgrades.page import UpgradeAdmin
from deploy_manager.admin.upgrades.policies import PolicyRunAdmin, UpgradePolicyAdmin

__all__ = [
    "AdvisoryAdmin",
    "DeploymentAdmin",
    "EnvironmentAdmin",
    "InstalledPackageAdmin",
    "LockAdmin",
    "OverrideAdmin",
    "PolicyRunAdmin",
    "ProjectAdmin",
    "ReleaseAdmin",
    "RequirementAdmin",
    "ServerAdmin",
    "UpgradeAdmin",
    "UpgradePolicyAdmin",
]
