"""The form of an import: a file that was pasted, sent, or is in the repository; then its pins."""

import posixpath
from typing import Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from deploy_manager.exceptions import DeployManagerError, PinError
from deploy_manager.models import Environment
from deploy_manager.packages.importing import is_for_a_worker, read_sent
from deploy_manager.packages.repository import find_files
from deploy_manager.requirements.completing import take_pins
from deploy_manager.requirements.decoding import decode

MAX_BYTES = 1024 * 1024
MEND = gettext_lazy("Mend these lines, or tick that the rest is imported without them.")


class RequirementsForm(forms.Form):
    """What an environment shall be pinned to, and how its bad lines are taken."""

    text = forms.CharField(
        label=gettext_lazy("Requirements"),
        required=False,
        max_length=MAX_BYTES,
        widget=forms.Textarea(
            attrs={"class": "vLargeTextField dm-mono", "rows": 16, "spellcheck": "false"}
        ),
        help_text=gettext_lazy(
            "Exact pins, name==version, hashes if you have them. A file may also be a"
            " pyproject.toml or a pylock.toml."
        ),
    )
    upload = forms.FileField(label=gettext_lazy("Or a file"), required=False)
    name = forms.CharField(required=False, max_length=200, widget=forms.HiddenInput)
    commit = forms.RegexField(r"[0-9a-f]{40,64}\Z", required=False, widget=forms.HiddenInput)
    lock = forms.BooleanField(
        label=gettext_lazy("Let uv find the versions, and all that is needed with them"),
        required=False,
    )
    skip_bad = forms.BooleanField(label=gettext_lazy("Import the rest"), required=False)

    def __init__(self, environment: Environment, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.environment = environment
        self.problems: tuple[str, ...] = ()
        self.asks_a_worker = False

    def clean_upload(self) -> str:
        """The file's text, in the encoding that it says."""
        upload = self.cleaned_data["upload"]
        if upload is None:
            return ""
        if upload.size > MAX_BYTES:
            raise forms.ValidationError(_("The file is larger than 1 MiB."))
        self.sent_name = posixpath.basename(upload.name)[:200]
        try:
            return decode(upload.read())
        except PinError:
            raise forms.ValidationError(_("The file is not text in UTF-8.")) from None

    def clean(self) -> dict[str, Any]:
        """Find the pins; a file goes before what was pasted, the repository before both.

        What only the resolver can tell is left to a worker: `asks_a_worker` says so.
        """
        sent = super().clean() or {}
        if self.errors:
            return sent
        try:
            self._look_at(sent)
            file = self.environment.project.requirements_file if sent["commit"] else sent["name"]
            self.asks_a_worker = sent["lock"] or is_for_a_worker(file)
            if not self.asks_a_worker:
                self._take_pins(sent)
        except DeployManagerError as error:
            raise forms.ValidationError("%(why)s", params={"why": str(error)}) from None
        return sent

    def _look_at(self, sent: dict[str, Any]) -> None:
        """Choose what was sent. Raises CodeError, ValidationError."""
        if "_repository" in self.data:
            sent["commit"], _files = find_files(self.environment)
            self._carry_on(commit=sent["commit"])
        if sent["commit"]:
            return
        sent["text"] = sent["upload"] or sent["text"]
        if sent["upload"]:
            sent["name"] = self.sent_name
            self._carry_on(text=sent["text"], name=sent["name"])
        if not sent["text"].strip():
            raise forms.ValidationError(_("Paste requirements, or choose a file."))

    def _take_pins(self, sent: dict[str, Any]) -> None:
        """Take what is pinned by the files themselves. Raises DeployManagerError."""
        name, asking = read_sent(self.environment, sent["text"], sent["name"], sent["commit"])
        pinned = take_pins(asking, name, skip_bad=sent["skip_bad"])
        self.problems = tuple(map(str, pinned.problems))
        if pinned.problems and not sent["skip_bad"]:
            raise forms.ValidationError(MEND)
        sent["pins"] = pinned.pins

    def _carry_on(self, **values: str) -> None:
        """Have the form begin with them where it is shown again with its errors."""
        self.data = {**dict(self.data.items()), **values}

    @property
    def as_looked_at(self) -> dict[str, Any]:
        """What the next form begins with, so that exactly what was shown is written."""
        return {key: self.cleaned_data[key] for key in ("text", "name", "commit", "skip_bad")}

    @property
    def as_asked(self) -> dict[str, Any]:
        """What a worker is asked."""
        return {**self.as_looked_at, "lock": self.cleaned_data["lock"]}
