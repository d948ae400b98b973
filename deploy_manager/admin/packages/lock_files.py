"""Lock files: the full sets of pins that releases were installed with."""

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from deploy_manager.admin.base import HistoryAdmin
from deploy_manager.admin.downloads import as_download
from deploy_manager.exceptions import PinError
from deploy_manager.models import LockFile

MOST_TO_COMPARE = 10
COMPARISON = "admin/deploy_manager/lockfile/comparison.html"


@admin.register(LockFile)
class LockFileAdmin(HistoryAdmin[LockFile]):
    list_display = ("__str__", "pin_count", "created_at")
    search_fields = ("digest", "text")
    fields = ("digest", "created_at", "download", "others", "pins")
    readonly_fields = fields

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("<int:pk>/download/", wrap(self.download_view), name=_url_name("download")),
            path(
                "<int:pk>/compare/<int:other>/",
                wrap(self.comparison_view),
                name=_url_name("comparison"),
            ),
            *super().get_urls(),
        ]

    def download_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Send a lock file as a requirements file that installs the same."""
        from deploy_manager.requirements.exporting import export_requirements
        from deploy_manager.requirements.reading import read_pins

        lock = self._find(request, pk)
        try:
            return as_download(export_requirements(read_pins(lock.text)), "requirements.txt")
        except PinError as error:
            return self._refuse(request, lock, error)

    def comparison_view(self, request: HttpRequest, pk: int, other: int) -> HttpResponse:
        """Show the versions that differ from those of another lock file."""
        from deploy_manager.requirements.pins import compare_wholly
        from deploy_manager.requirements.reading import read_pins

        lock, before = self._find(request, pk), self._find(request, other)
        try:
            changes = compare_wholly(read_pins(before.text), read_pins(lock.text))
        except PinError as error:
            return self._refuse(request, lock, error)
        title = gettext("Compared with %(lock)s") % {"lock": before}
        return self.render_page(request, COMPARISON, title, original=lock, changes=changes)

    def _refuse(self, request: HttpRequest, lock: LockFile, error: PinError) -> HttpResponse:
        """Show on the lock file's own page why it can't be read."""
        messages.error(request, str(error))
        return HttpResponseRedirect(reverse("admin:deploy_manager_lockfile_change", args=[lock.pk]))

    def _find(self, request: HttpRequest, pk: int) -> LockFile:
        return get_object_or_404(self.get_queryset(request), pk=pk)

    @admin.display(description=_("packages"))
    def pin_count(self, lock: LockFile) -> int:
        # Counted, not parsed, for a list of many; hashes of a pin have lines of their own.
        return sum("==" in line for line in lock.text.splitlines())

    @admin.display(description=_("as a file"))
    def download(self, lock: LockFile) -> SafeString:
        address = reverse(f"admin:{_url_name('download')}", args=[lock.pk])
        return format_html('<a href="{}">requirements.txt</a>', address)

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> LockFile | None:
        lock: LockFile | None = super().get_object(request, object_id, from_field)
        if lock is not None:
            # Each has a link of its own: there may be hundreds of lock files.
            others = self.get_queryset(request).exclude(pk=lock.pk)
            lock.others = others.order_by("-created_at", "-pk")[:MOST_TO_COMPARE]  # type: ignore[attr-defined]
        return lock

    @admin.display(description=_("compare with"))
    def others(self, lock: LockFile) -> SafeString | str:
        newest: QuerySet[LockFile] = lock.others  # type: ignore[attr-defined]
        name = f"admin:{_url_name('comparison')}"
        links = [(reverse(name, args=[lock.pk, one.pk]), str(one)) for one in newest]
        return format_html_join(" ", '<a href="{}">{}</a>', links) or "-"

    @admin.display(description=_("pins"))
    def pins(self, lock: LockFile) -> SafeString:
        return format_html('<pre class="dm-text">{}</pre>', lock.text)


def _url_name(view: str) -> str:
    return f"deploy_manager_lockfile_{view}"
