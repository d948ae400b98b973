"""Kinds of pipelines: what their pages ask, and which may be started without an answer."""

from deploy_manager.models.deployments import CONVERGE, ROLLBACK, UPGRADE
from deploy_manager.recipes import Pipeline, Uses


def takes_code(pipeline: Pipeline) -> bool:
    """Whether it sends a commit that is yet to be chosen."""
    return pipeline.uses is Uses.NEW and not makes_alike(pipeline)


def goes_back(pipeline: Pipeline) -> bool:
    """Whether it works on an earlier release, which somebody has to choose."""
    return pipeline.uses is Uses.GIVEN and pipeline.name not in (CONVERGE, UPGRADE)


def makes_alike(pipeline: Pipeline) -> bool:
    """Whether it sends what the other servers serve."""
    return pipeline.name == CONVERGE


def is_startable(pipeline: Pipeline) -> bool:
    """Whether there is an action for it: parts of a rollback are of no use by themselves.

    An upgrade is begun from its packages.
    """
    return pipeline.name == ROLLBACK or not (goes_back(pipeline) or pipeline.name == UPGRADE)


def is_schedulable(pipeline: Pipeline) -> bool:
    """Whether it may be run by itself, with nobody there to choose a release."""
    return pipeline.uses is not Uses.GIVEN
