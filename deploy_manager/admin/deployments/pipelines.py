"""What kind of story it is: what its page asks, and whether it may be started without an answer."""

from deploy_manager.models.deployments import CONVERGE, ROLLBACK, UPGRADE
from deploy_manager.recipes import Story, Uses


def takes_code(story: Story) -> bool:
    """Whether it sends a commit that is yet to be chosen."""
    return story.uses is Uses.NEW and not makes_alike(story)


def goes_back(story: Story) -> bool:
    """Whether it works on an earlier release, which somebody has to choose."""
    return story.uses is Uses.GIVEN and story.name not in (CONVERGE, UPGRADE)


def makes_alike(story: Story) -> bool:
    """Whether it sends what the other servers serve."""
    return story.name == CONVERGE


def is_startable(story: Story) -> bool:
    """Whether there is an action for it: parts of a rollback are of no use by themselves.

    An upgrade is begun from its packages.
    """
    return story.name == ROLLBACK or not (goes_back(story) or story.name == UPGRADE)


def is_schedulable(story: Story) -> bool:
    """Whether it may be run by itself, with nobody there to choose a release."""
    return story.uses is not Uses.GIVEN
