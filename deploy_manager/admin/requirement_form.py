"""The form of an import: a file that was pasted, sent, or is in the repository; then its pins."""

import posixpath
import re
from typing import Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from deploy_manager.exceptions import DeployManagerError, PinError
from deploy_manager.models import Environment
from deploy_manager.requirements import (
    Asking,
    as_bytes,
    decode,
    find_pins,
    lock_text,
    read_asking,
)
from deploy_manager.runner.source import files_of_commit, find_files

MAX_BYTES = 1024 * 1024
_NAME = "requirements.txt"


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
        """Find the pins; a file goes before what was pasted, the repository before both."""
        sent = super().clean() or {}
        if self.errors:
            return sent
        try:
            name, asking = self._read(sent)
            pinned = find_pins(
                asking,
                name,
                resolve=sent["lock"],
                skip_bad=sent["skip_bad"],
                index_url=self.environment.index_url,
            )
        except DeployManagerError as error:
            raise forms.ValidationError("%(why)s", params={"why": str(error)}) from None
        self.problems = tuple(map(str, pinned.problems))
        if pinned.problems and not sent["skip_bad"]:
            raise forms.ValidationError(
                _("Mend these lines, or tick that the rest is imported without them.")
            )
        sent["pins"] = pinned.pins
        return sent

    def _read(self, sent: dict[str, Any]) -> tuple[str, Asking]:
        """What is asked for, and the name of the file. Raises CodeError."""
        project = self.environment.project
        path, folder = project.requirements_file, project.folder
        if "_repository" in self.data:
            sent["commit"], files = find_files(self.environment)
            self._carry_on(commit=sent["commit"])
            return path, read_asking(path, files, folder=folder)
        if sent["commit"]:
            files = files_of_commit(self.environment, sent["commit"])
            return path, read_asking(path, files, folder=folder)
        sent["text"] = sent["upload"] or sent["text"]
        if sent["upload"]:
            sent["name"] = self.sent_name
            self._carry_on(text=sent["text"], name=sent["name"])
        if not sent["text"].strip():
            raise forms.ValidationError(_("Paste requirements, or choose a file."))
        name = sent["name"] or _NAME
        return name, read_asking(name, {posixpath.normpath(name): _bytes(name, sent["text"])}.get)

    def _carry_on(self, **values: str) -> None:
        """Have the form begin with them where it is shown again with its errors."""
        self.data = {**dict(self.data.items()), **values}

    @property
    def as_looked_at(self) -> dict[str, Any]:
        """What the next form begins with, so that exactly what was shown is written."""
        sent = self.cleaned_data
        if sent["lock"]:
            return {"text": lock_text(sent["pins"])}
        return {key: sent[key] for key in ("text", "name", "commit", "skip_bad")}


def _bytes(name: str, text: str) -> bytes:
    """A file of a text; TOML has no mark at its start."""
    return text.encode(errors="replace") if re.search(r"\.(toml|lock)\Z", name) else as_bytes(text)
