"""How commands end: their exit codes, and refusals."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from django.core.management import CommandError

from deploy_manager.exceptions import DeployManagerError, RequestRefused, UnknownRecipe
from deploy_manager.messages import Message
from deploy_manager.recipes import all_pipelines

FAILED = 1
"""Exit code of work that did not succeed everywhere."""

REFUSED = 2
"""Exit code for wrong usage, and for a request that was refused: nothing was written."""


@contextmanager
def refusals() -> Iterator[None]:
    """Turn a refusal in this block, and Ctrl-C, into a CommandError (exit code 2)."""
    try:
        yield
    except UnknownRecipe as error:
        names = ", ".join(pipeline.name for pipeline in all_pipelines())
        refuse(f"{str(error).partition('. ')[0]}. Choose one of: {names}.")
    except DeployManagerError as error:
        refuse(error.message)
    except KeyboardInterrupt:
        refuse("Stopped before anything was requested.")


def refuse(reason: str | Message) -> NoReturn:
    """End the command before anything was written."""
    raise CommandError(Message(reason, RequestRefused.code), returncode=REFUSED)
