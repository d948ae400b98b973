"""The guestbook's only page, and the health check that the deployment asks."""

import os

from django import forms
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render

from guestbook.models import Entry

COUNTED = "counted"
"""The key in the cache of what a worker has counted, if the site has workers."""


class EntryForm(forms.ModelForm):
    class Meta:
        model = Entry
        fields = ["name", "text"]
        labels = {"text": "Message"}
        widgets = {
            "name": forms.TextInput(attrs={"autocomplete": "name"}),
            "text": forms.Textarea(attrs={"rows": 2}),
        }


def guestbook(request: HttpRequest) -> HttpResponse:
    """Show the newest entries, and add one."""
    form = EntryForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        form.save()
        return redirect("guestbook")
    context = {"form": form, "entries": Entry.objects.all()[:20], "counted": cache.get(COUNTED)}
    context |= running_version()
    return render(request, "guestbook/guestbook.html", context)


def health(request: HttpRequest) -> JsonResponse:
    """Report the commit and the release of this process, if the database answers.

    And those of the worker that counted last, if there is one.
    """
    known = {"entries": Entry.objects.count(), "counted": cache.get(COUNTED)}
    return JsonResponse({"status": "ok", **known, **running_version()})


def running_version() -> dict[str, str]:
    """Return the commit and the release of this process: variables that the deployment sets."""
    return {
        "commit": os.environ.get("DEPLOY_COMMIT", ""),
        "release": os.environ.get("DEPLOY_RELEASE", ""),
    }
