"""The tables: inventory, requirements, releases and deployments."""

from deploy_manager.models.deployments import Deployment
from deploy_manager.models.environments import Environment
from deploy_manager.models.inventory import Project, Server
from deploy_manager.models.placements import Placement
from deploy_manager.models.releases import Release
from deploy_manager.models.requirements import Lock, Requirement
from deploy_manager.models.runs import HostRun, LogChunk, Step
from deploy_manager.models.schedules import Notification, Schedule
from deploy_manager.models.slices import Slice
from deploy_manager.models.states import BROKEN, BUSY, LIVE, TO_RETRY, SliceState, State

__all__ = [
    "BROKEN",
    "BUSY",
    "LIVE",
    "TO_RETRY",
    "Deployment",
    "Environment",
    "HostRun",
    "Lock",
    "LogChunk",
    "Notification",
    "Placement",
    "Project",
    "Release",
    "Requirement",
    "Schedule",
    "Server",
    "Slice",
    "SliceState",
    "State",
    "Step",
]
