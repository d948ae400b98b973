"""The tables: inventory, requirements, releases and deployments."""

from deploy_manager.models.deployments import Deployment
from deploy_manager.models.inventory import Environment, Placement, Project, Server
from deploy_manager.models.releases import Release
from deploy_manager.models.requirements import Lock, Requirement
from deploy_manager.models.runs import HostRun, LogChunk, Step
from deploy_manager.models.states import LIVE, State

__all__ = [
    "LIVE",
    "Deployment",
    "Environment",
    "HostRun",
    "Lock",
    "LogChunk",
    "Placement",
    "Project",
    "Release",
    "Requirement",
    "Server",
    "State",
    "Step",
]
