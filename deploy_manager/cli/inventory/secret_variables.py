"""Secret variables on a command line: names and fingerprints, never a value."""

import getpass
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from django.core.exceptions import ValidationError

from deploy_manager.auditing import noting
from deploy_manager.cli.exits import refuse
from deploy_manager.cli.views.base import Report, View
from deploy_manager.exceptions import ConfigurationError
from deploy_manager.masking import looks_secret
from deploy_manager.models import Environment, SecretVariable
from deploy_manager.models.secret_variables import secret_of
from deploy_manager.models.shapes import texts_by_name
from deploy_manager.models.transactions import brief_transaction
from deploy_manager.sealing import MOST_BYTES, Secret

WHEN_IT_REACHES = "The site's processes get it with the next deployment."


@dataclass(frozen=True)
class SecretsReport(Report):
    """The secret variables of an environment, and plain ones that look as if they were secret."""

    environment: Environment

    def print_on(self, view: View) -> None:
        variables = self.environment.secret_variables.all()
        if not variables:
            view.remark(f"{self.environment} has no secret variables.")
        for each in variables:
            who = f" by {each.changed_by_name}" if each.changed_by_name else ""
            view.say(
                f"{each.name}: {each.fingerprint or 'no value'},"
                f" changed {each.changed_at:%Y-%m-%d %H:%M %Z}{who}"
            )
        if names := self._plain:
            view.remark(
                f"Readable for all who may see the environment: {', '.join(names)}."
                f" To seal them: manage.py secret {self.environment} --seal"
            )

    def write_on(self, view: View) -> None:
        for each in self.environment.secret_variables.all():
            view.write(
                "secret",
                name=each.name,
                fingerprint=each.fingerprint,
                changed_at=each.changed_at.isoformat(),
                changed_by=each.changed_by_name,
            )
        view.write("summary", state="listed", plain=self._plain)

    @property
    def _plain(self) -> list[str]:
        return looks_secret(texts_by_name(self.environment.variables))


def read_value(name: str, file: str) -> Secret:
    """Return the value of a file, of standard input, or of what is typed without being shown.

    One line end at its end is not part of it. Raises CommandError for what can't be a secret.
    """
    try:
        if file:
            text = Path(file).read_bytes()[: MOST_BYTES + 2].decode()
        elif sys.stdin.isatty():
            text = getpass.getpass(f"{name}: ")
        else:
            text = sys.stdin.read(MOST_BYTES + 2)
    except UnicodeDecodeError:
        refuse("A secret must be text in UTF-8: encode it in base64, say.")
    except OSError as error:
        refuse(f"{file} can't be read: {error.strerror}.")
    try:
        return secret_of(text.removesuffix("\n"))
    except ValidationError as error:
        refuse(" ".join(error.messages))


def put_secret(environment: Environment, name: str, value: Secret, by: str) -> bool:
    """Set a secret variable; return whether it is a new one. Raises CommandError."""
    try:
        return SecretVariable.objects.put(environment, name, value, by)
    except ConfigurationError as error:
        refuse(error.message)
    except ValidationError as error:
        refuse(" ".join(error.messages))


def seal_plain(environment: Environment, names: Sequence[str], by: str) -> list[str]:
    """Make plain variables secret, by default those that look it; return their names.

    Raises CommandError.
    """
    plain = texts_by_name(environment.variables)
    chosen = list(names) or looks_secret(plain)
    for name in chosen:
        if name not in plain:
            refuse(f"{environment} has no plain variable {name}.")
        try:
            value = secret_of(plain[name])
        except ValidationError as error:
            refuse(f"{name}: {' '.join(error.messages)}")
        # Both or none: without its value the site would not start.
        with brief_transaction():
            left = {key: text for key, text in plain.items() if key != name}
            with noting(Environment.objects.filter(pk=environment.pk)):
                Environment.objects.filter(pk=environment.pk).update(variables=left)
            put_secret(environment, name, value, by)
        plain = left
    return chosen
