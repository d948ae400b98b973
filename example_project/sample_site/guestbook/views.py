import os

from django import forms
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render

from guestbook.models import Entry


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
    """Show the newest entries and take a new one."""
    form = EntryForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        form.save()
        return redirect("guestbook")
    context = {"form": form, "entries": Entry.objects.all()[:20], **what_serves()}
    return render(request, "guestbook/guestbook.html", context)


def health(request: HttpRequest) -> JsonResponse:
    """Answer only where the database does, and say which release answers."""
    return JsonResponse({"status": "ok", "entries": Entry.objects.count(), **what_serves()})


def what_serves() -> dict[str, str]:
    """Return the commit and the release of this process, as the deployment tells them."""
    return {
        "commit": os.environ.get("DEPLOY_COMMIT", ""),
        "release": os.environ.get("DEPLOY_RELEASE", ""),
    }
