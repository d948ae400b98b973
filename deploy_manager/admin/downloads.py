"""Files that pages send to be kept, never shown by a browser as what they say they are."""

from django.http import HttpResponse


def as_download(text: str, name: str) -> HttpResponse:
    """Return a text as a file of this name, which must be one of ours."""
    headers = {
        "Content-Disposition": f'attachment; filename="{name}"',
        "X-Content-Type-Options": "nosniff",
    }
    return HttpResponse(text, content_type="text/plain; charset=utf-8", headers=headers)
