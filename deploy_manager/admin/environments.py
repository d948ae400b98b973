"""Environments: what serves where, and the actions that deploy it."""

from collections import Counter

from django.contrib import admin
from django.db.models import OuterRef, Prefetch, QuerySet, Subquery
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _

from deploy_manager.admin.badges import deployment_link, short_commit, short_time, state_badge
from deploy_manager.admin.base import StyledAdmin, TabularInline
from deploy_manager.models import Deployment, Environment, Placement, Release


class PlacementInline(TabularInline[Placement, Environment]):
    model = Placement
    extra = 0
    autocomplete_fields = ("server",)
    fields = ("server", "roles", "order", "own_deploy_path", "own_bind", "active_release")
    readonly_fields = ("active_release",)


@admin.register(Environment)
class EnvironmentAdmin(StyledAdmin[Environment]):
    list_display = ("site", "ref", "server_count", "live_now", "last_deployment")
    list_filter = ("project",)
    search_fields = ("name", "project__name")
    inlines = (PlacementInline,)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Environment]:
        return (
            super()
            .get_queryset(request)
            .select_related("project")
            .prefetch_related(
                Prefetch("placements", Placement.objects.select_related("active_release")),
                Prefetch("deployments", _newest_deployments(), to_attr="newest_deployments"),
            )
        )

    @admin.display(description=_("site"), ordering="project__name")
    def site(self, environment: Environment) -> str:
        return str(environment)

    @admin.display(description=_("servers"))
    def server_count(self, environment: Environment) -> int:
        return len(environment.placements.all())

    @admin.display(description=_("live now"))
    def live_now(self, environment: Environment) -> SafeString | str:
        return describe_live_releases(environment)

    @admin.display(description=_("last deployment"))
    def last_deployment(self, environment: Environment) -> SafeString | str:
        newest: list[Deployment] = environment.newest_deployments  # type: ignore[attr-defined]
        if not newest:
            return ""
        return format_html("{} {}", deployment_link(newest[0]), state_badge(newest[0].state))


def _newest_deployments() -> QuerySet[Deployment]:
    """The last deployment of each environment."""
    last = Deployment.objects.filter(environment=OuterRef("pk")).order_by("-created_at", "-pk")
    return Deployment.objects.filter(
        pk__in=Environment.objects.values_list(Subquery(last.values("pk")[:1]), flat=True)
    )


def describe_live_releases(environment: Environment) -> SafeString | str:
    """What the servers were last seen to serve: one commit, or said to be mixed."""
    releases = [placement.active_release for placement in environment.placements.all()]
    known = {release.pk: release for release in releases if release is not None}
    if not known:
        return _now("nothing yet")
    if len(known) == 1 and None not in releases:
        return _describe_release(next(iter(known.values())))
    return format_html(
        '<strong class="dm-mixed">{}</strong> {}',
        _now("mixed:"),
        format_html_join(", ", "{}", ((part,) for part in _count_releases(releases))),
    )


def _describe_release(release: Release) -> SafeString:
    return format_html(
        '{} <span class="dm-quiet">{}</span>',
        short_commit(release.commit),
        short_time(release.created_at),
    )


def _count_releases(releases: list[Release | None]) -> list[SafeString]:
    """Each release with the number of servers that serve it, the most common first."""
    labels = [short_commit(entry.commit) if entry else _now("nothing") for entry in releases]
    return [
        format_html(_now("{} on {}"), label, count)
        for label, count in Counter(labels).most_common()
    ]
