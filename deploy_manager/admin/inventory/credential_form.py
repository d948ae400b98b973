"""The form of a credential: secrets are written, checked while they are at hand, never shown."""

from typing import Any, ClassVar

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from deploy_manager.admin.base import ModelForm
from deploy_manager.admin.forms import WriteOnlyTextarea
from deploy_manager.exceptions import ConfigurationError, KeyUnusable
from deploy_manager.models import Credential
from deploy_manager.sealing import MOST_BYTES, Secret

GENERATE = "_generate"
"""The button that saves the form with a new key."""


class CredentialForm(ModelForm[Credential]):
    new_secret = forms.CharField(
        label=gettext_lazy("New secret"),
        required=False,
        strip=False,
        max_length=MOST_BYTES,
        widget=WriteOnlyTextarea(
            attrs={
                "rows": 4,
                "class": "vLargeTextField",
                "autocomplete": "off",
                "spellcheck": "false",
            }
        ),
        help_text=gettext_lazy(
            "A private key, a password or a token. It is sealed and never shown again. Blank: it"
            " stays as it is."
        ),
    )
    new_passphrase = forms.CharField(
        label=gettext_lazy("Passphrase"),
        required=False,
        strip=False,
        max_length=1000,
        widget=forms.PasswordInput(attrs={"class": "vTextField", "autocomplete": "new-password"}),
        help_text=gettext_lazy("Of the private key, if it has one."),
    )

    class Meta:
        model = Credential
        fields = (
            *("name", "kind", "host", "user", "source", "reference", "command"),
            *("public_key", "certificate", "known_hosts", "server", "environment", "project"),
        )
        widgets: ClassVar = {
            name: forms.Textarea(attrs={"rows": 3, "class": "vLargeTextField"})
            for name in ("public_key", "certificate", "known_hosts")
        }

    def clean(self) -> dict[str, Any]:
        """Take the secret that was entered or is to be generated, and check what goes with it."""
        cleaned: dict[str, Any] = super().clean() or {}
        kind, source = cleaned.get("kind", ""), cleaned.get("source", "")
        try:
            if source != Credential.Source.HERE:
                self._refuse_to_generate()
                self.instance.secret = None
            elif GENERATE in self.data:
                self._generate(kind, cleaned)
            elif cleaned.get("new_secret"):
                self._take(kind, cleaned)
            self._refuse_another_place(kind)
            self._take_passphrase(cleaned)
            self._check_certificate(cleaned)
            self._require_key_to_seal()
        except ValidationError as error:
            self.add_error(None, error)
        return cleaned

    def _refuse_to_generate(self) -> None:
        if GENERATE in self.data:
            raise ValidationError(_("A key that is generated is stored here: choose that."))

    def _generate(self, kind: str, cleaned: dict[str, Any]) -> None:
        from deploy_manager.private_keys import make_private_key

        if kind not in Credential.KEYS:
            raise ValidationError(_("Only SSH keys are generated here."))
        key = make_private_key()
        self.instance.put(key.plain)
        cleaned["public_key"], cleaned["certificate"] = key.public_line, ""

    def _take(self, kind: str, cleaned: dict[str, Any]) -> None:
        secret = Secret(cleaned["new_secret"])
        passphrase = Secret(cleaned.get("new_passphrase") or "")
        if kind in Credential.KEYS:
            from deploy_manager.private_keys import read_private_key

            try:
                cleaned["public_key"] = read_private_key(secret, passphrase).public_line
            except KeyUnusable as error:
                raise ValidationError(str(error)) from None
        else:
            secret = Secret(secret.value.strip())
            self._check_password(kind, secret, cleaned)
        self.instance.put(secret, passphrase)

    def _check_password(self, kind: str, secret: Secret, cleaned: dict[str, Any]) -> None:
        from deploy_manager.logins import problem_of

        is_in_netrc = kind == Credential.Kind.INDEX
        if problem := problem_of(
            cleaned.get("name", ""), cleaned.get("user", ""), secret, is_in_netrc=is_in_netrc
        ):
            raise ValidationError(str(problem))

    def _refuse_another_place(self, kind: str) -> None:
        """Have a stored password entered again before it is sent to another host.

        Otherwise whoever may change the row, and reads no secret, could have it sent to themselves.
        """
        # A key is shown to nobody whom it is used at.
        are_keys = {self.initial.get("kind"), kind} <= Credential.KEYS
        is_elsewhere = not {"kind", "host"}.isdisjoint(self.changed_data)
        # What was entered now is not sealed yet.
        if self.instance.sealed and is_elsewhere and not are_keys:
            raise ValidationError(
                _("Enter the secret again: it was entered for another host or purpose.")
            )

    def _take_passphrase(self, cleaned: dict[str, Any]) -> None:
        # With a new secret it was taken already; alone it is for a key that can't be read here.
        if cleaned.get("new_passphrase") and not cleaned.get("new_secret"):
            self.instance.passphrase = Secret(cleaned["new_passphrase"])

    def _check_certificate(self, cleaned: dict[str, Any]) -> None:
        if not (line := cleaned.get("certificate", "").strip()):
            return
        from deploy_manager.private_keys import check_user_certificate

        try:
            check_user_certificate(line, cleaned.get("public_key", ""))
        except KeyUnusable as error:
            raise ValidationError(str(error)) from None

    def _require_key_to_seal(self) -> None:
        if isinstance(self.instance.secret, Secret) or isinstance(self.instance.passphrase, Secret):
            from deploy_manager.sealing import current_public_key

            try:
                current_public_key()
            except ConfigurationError as error:
                raise ValidationError(str(error)) from None
