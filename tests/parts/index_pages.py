"""What a package index says of a project: as JSON (PEP 691) and as HTML (PEP 503)."""

import hashlib
import html
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from packaging.utils import canonicalize_name

JSON_TYPE = "application/vnd.pypi.simple.v1+json"
HTML_TYPE = "application/vnd.pypi.simple.v1+html"


@dataclass(frozen=True)
class Upload:
    """A file of a project as the index lists it."""

    filename: str
    content: bytes
    version: str
    uploaded: datetime | None
    yanked: str | None
    """The reason, possibly blank; None: not yanked."""

    requires_python: str
    metadata: bytes
    is_broken: bool

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


@dataclass
class Project:
    """What the index knows of a name."""

    name: str
    files: dict[str, Upload] = field(default_factory=dict)
    status: str = "active"
    status_reason: str = ""

    @property
    def offered(self) -> list[Upload]:
        """Nothing of a project in quarantine (PEP 792)."""
        return [] if self.status == "quarantined" else list(self.files.values())


def as_json(project: Project) -> dict[str, Any]:
    """As PEP 691, with what PEP 700 and PEP 792 add."""
    return {
        "meta": {"api-version": "1.4"},
        "name": canonicalize_name(project.name),
        "project-status": _told(status=project.status, reason=project.status_reason),
        "versions": list(dict.fromkeys(one.version for one in project.offered)),
        "files": [_file_as_json(one) for one in project.offered],
    }


def _file_as_json(upload: Upload) -> dict[str, Any]:
    moment = upload.uploaded and upload.uploaded.astimezone(UTC)
    return {
        "filename": upload.filename,
        "url": f"/files/{upload.filename}",
        "hashes": {"sha256": upload.sha256},
        "size": len(upload.content),
        "yanked": False if upload.yanked is None else upload.yanked or True,
        **({"core-metadata": True} if upload.metadata else {}),
        **_told(
            **{
                "requires-python": upload.requires_python,
                "upload-time": moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ") if moment else "",
            }
        ),
    }


def _told(**facts: str) -> dict[str, str]:
    return {name: text for name, text in facts.items() if text}


def as_html(project: Project) -> str:
    """As PEP 503, with what PEP 592, 658 and 792 add."""
    marks = _told(
        **{
            "pypi:repository-version": "1.4",
            "pypi:project-status": project.status,
            "pypi:project-status-reason": project.status_reason,
        }
    )
    head = "".join(f'<meta name="{name}" content="{html.escape(marks[name])}">' for name in marks)
    links = "\n".join(_file_as_html(one) for one in project.offered)
    return f"<!DOCTYPE html><html><head>{head}</head><body>\n{links}\n</body></html>"


def _file_as_html(upload: Upload) -> str:
    attributes = _told(**{"data-requires-python": upload.requires_python})
    if upload.metadata:
        attributes["data-core-metadata"] = "true"
    if upload.yanked is not None:
        attributes["data-yanked"] = upload.yanked
    said = "".join(f' {name}="{html.escape(text)}"' for name, text in attributes.items())
    target = f"/files/{upload.filename}#sha256={upload.sha256}"
    return f'<a href="{target}"{said}>{upload.filename}</a>'
