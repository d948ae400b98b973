"""Releases: the list, and the page that marks some of them as bad."""

from collections.abc import Sequence
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from deploy_manager.admin.addresses import ids_in
from deploy_manager.admin.badges import short_commit, short_time
from deploy_manager.admin.base import HistoryAdmin
from deploy_manager.admin.forms import ReasonForm
from deploy_manager.auditing import noting
from deploy_manager.logs import mask_text
from deploy_manager.messages import Message
from deploy_manager.models import Release
from deploy_manager.models.rights import Right, may
from deploy_manager.models.serving import with_unproven
from deploy_manager.visibility import may_on_any, visible

TEMPLATE = "admin/deploy_manager/release/mark_bad.html"
CHANGELIST = "admin:deploy_manager_release_changelist"


class BadFilter(admin.SimpleListFilter):
    """A list filter: the releases that are marked as bad, or the others."""

    title = _("marked as bad")
    parameter_name = "bad"

    def lookups(
        self, request: HttpRequest, model_admin: "admin.ModelAdmin[Any]"
    ) -> list[tuple[str, str]]:
        return [("1", gettext("Yes")), ("0", gettext("No"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Release]) -> QuerySet[Release]:
        if self.value() not in ("0", "1"):
            return queryset
        return queryset.filter(bad_since__isnull=self.value() == "0")


@admin.register(Release)
class ReleaseAdmin(HistoryAdmin[Release]):
    list_display = ("name", "environment", "described", "created")
    list_filter = ("environment", BadFilter)
    list_select_related = ("environment__project",)
    search_fields = ("name", "commit", "subject")
    date_hierarchy = "created_at"
    actions = ("mark_bad",)

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """Tell releases of the same commit apart, and which served, by a query each for all."""
        from deploy_manager.deployments.comparing import with_twins

        listed = super().get_changelist_instance(request)
        listed.result_list = with_unproven(with_twins(listed.result_list))
        return listed

    @admin.display(description=_("commit"), ordering="subject")
    def described(self, release: Release) -> SafeString:
        bad: SafeString | str = ""
        if release.bad_since:
            bad = format_html(
                '<br><span class="dm-bad">{}</span> <span class="dm-quiet dm-lines">{}</span>',
                gettext("bad"),
                release.bad_reason,
            )
        if why := getattr(release, "unproven", None):
            bad = format_html('<br><span class="dm-quiet">{}</span>{}', why, bad)
        if twin := getattr(release, "twin", None):
            bad = format_html('<br><span class="dm-quiet">{}</span>{}', twin, bad)
        return format_html("{} {}{}", short_commit(release.commit), release.subject, bad)

    @admin.display(description=_("created"), ordering="created_at")
    def created(self, release: Release) -> str:
        return short_time(release.created_at)

    def choose_actions(self, request: HttpRequest, known: dict[str, Any]) -> dict[str, Any]:
        # The only action; a list without any shows no checkboxes.
        return known if may_on_any(request, Right.DEPLOY) else {}

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.mark_bad_view)
        name = "deploy_manager_release_mark_bad"
        return [path("mark-bad/", view, name=name), *super().get_urls()]

    @admin.action(description=_("Mark as bad…"))
    def mark_bad(self, request: HttpRequest, queryset: QuerySet[Release]) -> HttpResponseRedirect:
        """Redirect to the page that asks for the reason."""
        chosen = ",".join(str(pk) for pk in queryset.values_list("pk", flat=True))
        address = reverse("admin:deploy_manager_release_mark_bad")
        return HttpResponseRedirect(f"{address}?on={chosen}")

    def mark_bad_view(self, request: HttpRequest) -> HttpResponse:
        """Ask for the reason, then mark the releases: none is ever chosen automatically again."""
        releases = self._find(request)
        form = ReasonForm(
            request.POST if request.method == "POST" else None,
            gettext("Shown to anyone who chooses it anyway."),
        )
        if form.is_valid():
            # It is shown to many users, and someone may paste a log with a secret.
            self._mark(request, releases, mask_text(form.cleaned_data["reason"]))
            return HttpResponseRedirect(reverse(CHANGELIST))
        title = gettext("Mark as bad")
        return self.render_page(request, TEMPLATE, title, releases=releases, form=form)

    def _find(self, request: HttpRequest) -> list[Release]:
        """Return the releases in the page's URL. Raises Http404 and PermissionDenied."""
        from deploy_manager.deployments.comparing import with_twins

        found = visible(request, Release.objects.filter(pk__in=ids_in(request)))
        found = found.select_related("environment__project")
        releases = with_twins(found)
        if not releases:
            raise Http404(gettext("There is no such release."))
        if not all(may(request.user, Right.DEPLOY, each.environment) for each in releases):
            raise PermissionDenied
        return releases

    def _mark(self, request: HttpRequest, releases: Sequence[Release], reason: str) -> None:
        why = Message(_("%(reason)s (marked by %(who)s)"), reason=reason, who=request.user)
        chosen = Release.objects.filter(pk__in=[release.pk for release in releases])
        with noting(chosen, "bad_since", "bad_reason"):
            marked = [release for release in releases if release.mark_bad(why)]
        for release in marked:
            text = gettext("Marked as bad: %(reason)s") % {"reason": reason}
            self.log_change(request, release, text)
        text = ngettext(
            "%(count)d release is marked as bad.",
            "%(count)d releases are marked as bad.",
            len(marked),
        )
        level = messages.SUCCESS if marked else messages.WARNING
        self.message_user(request, text % {"count": len(marked)}, level)
