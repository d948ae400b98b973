"""The page that shows who may do what with an environment or a server, and by what right."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.contrib.auth import get_backends, get_user_model
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import Group, Permission, PermissionsMixin
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.core.paginator import Page, Paginator
from django.db.models import Prefetch, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from deploy_manager.admin.base import StyledAdmin
from deploy_manager.models import Environment, Server
from deploy_manager.models.rights import GIVEN_BY, ON_ENVIRONMENT, ON_SERVER, Right, may

TEMPLATE = "admin/deploy_manager/access.html"
USERS_SHOWN = 25

LABELS = {
    Right.VIEW: gettext_lazy("see it"),
    Right.VIEW_LOG: gettext_lazy("read logs"),
    Right.DEPLOY: gettext_lazy("deploy"),
    Right.ROLL_BACK: gettext_lazy("roll back"),
    Right.RUN_RECIPE: gettext_lazy("run recipes"),
    Right.UPGRADE: gettext_lazy("upgrade"),
    Right.APPROVE: gettext_lazy("approve"),
    Right.FREEZE: gettext_lazy("freeze"),
    Right.CHANGE: gettext_lazy("change it"),
    Right.CHANGE_SECRETS: gettext_lazy("change secrets"),
    Right.DELETE: gettext_lazy("delete it"),
    Right.VIEW_SERVER: gettext_lazy("see it"),
    Right.USE_SERVER: gettext_lazy("place on it"),
    Right.CHANGE_SERVER: gettext_lazy("change it"),
    Right.DELETE_SERVER: gettext_lazy("delete it"),
}

Reasons = dict[Right, list[str]]


@dataclass(frozen=True)
class Cell:
    """What one user may do, and why; no reasons: they may not."""

    label: str
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Line:
    user: Any
    cells: tuple[Cell, ...]


def access_view(
    admin: StyledAdmin[Any], request: HttpRequest, pk: int, right_to_change: Right
) -> HttpResponse:
    """Show the users with rights on a row to those who may change it.

    Raises Http404 and PermissionDenied.
    """
    row: Environment | Server | None = admin.get_queryset(request).filter(pk=pk).first()
    if row is None:
        raise Http404(_("There is no such row."))
    if not may(request.user, right_to_change, row):
        raise PermissionDenied
    access = Access(row)
    page = access.page(request.GET.get("p") or 1)
    return admin.render_page(
        request,
        TEMPLATE,
        _("Access"),
        subtitle=str(row),
        original=row,
        is_server=isinstance(row, Server),
        labels=[LABELS[right] for right in access.rights],
        lines=access.lines(page),
        page=page,
    )


class Access:
    """The rights on one row, from all places that give them."""

    def __init__(self, row: Environment | Server) -> None:
        self.row = row
        self.rights = ON_SERVER if isinstance(row, Server) else ON_ENVIRONMENT
        self._codenames = {right.codename: right for right in self.rights}
        backends = get_backends()
        self._by_django = issubclass(get_user_model(), PermissionsMixin) and any(
            isinstance(each, ModelBackend) for each in backends
        )
        of_guardian = [each for each in backends if type(each).__module__.startswith("guardian.")]
        self._by_guardian = bool(of_guardian) and apps.is_installed("guardian")
        # What others say can only be asked, user by user.
        self._asks = not self._by_django or any(
            not isinstance(each, ModelBackend) and each not in of_guardian for each in backends
        )

    def page(self, number: int | str) -> Page[Any]:
        """Return a page of the users who may have a right; of all, if only asking tells."""
        model = get_user_model()
        found: QuerySet[Any] = model._default_manager.filter(is_active=True)
        if not self._asks:
            given = Permission.objects.filter(
                codename__in=self._codenames, content_type=self._content_type
            )
            has_any = Q(is_superuser=True) | Q(user_permissions__in=given)
            has_any |= Q(groups__permissions__in=given)
            if self._by_guardian:
                has_any |= Q(pk__in=self._on_this("User").values("user"))
                has_any |= Q(groups__in=self._on_this("Group").values("group"))
            found = found.filter(has_any).distinct()
        if self._by_django:
            own = Permission.objects.filter(content_type=self._content_type)
            groups = Group.objects.prefetch_related(Prefetch("permissions", own))
            found = found.prefetch_related(
                Prefetch("user_permissions", own), Prefetch("groups", groups)
            )
        return Paginator(found.order_by(model.USERNAME_FIELD), USERS_SHOWN).get_page(number)

    def lines(self, users: Iterable[Any]) -> list[Line]:
        """Return what each user may do and why, in a fixed number of queries.

        Unless an authentication backend has to be asked that is neither Django's nor guardian's.
        """
        users = list(users)
        of_users = self._named("User", [user.pk for user in users])
        groups = {group.pk for user in users if self._by_django for group in user.groups.all()}
        of_groups = self._named("Group", groups)
        return [Line(user, self._cells(user, of_users, of_groups)) for user in users]

    def _cells(
        self, user: Any, of_users: dict[int, set[Right]], of_groups: dict[int, set[Right]]
    ) -> tuple[Cell, ...]:
        reasons = self._reasons(user, of_users, of_groups)
        for right in self.rights:
            if reasons[right]:
                continue
            if others := [each for each in GIVEN_BY.get(right, ()) if reasons[each]]:
                text = _("because of “%(right)s”") % {"right": LABELS[others[0]]}
                reasons[right] = [text]
        if self._asks:
            self._ask(user, reasons)
        return tuple(Cell(str(LABELS[right]), tuple(reasons[right])) for right in self.rights)

    def _reasons(
        self, user: Any, of_users: dict[int, set[Right]], of_groups: dict[int, set[Right]]
    ) -> Reasons:
        found: Reasons = defaultdict(list)
        if not self._by_django:
            return found
        if user.is_superuser:
            return defaultdict(list, {right: [_("superuser")] for right in self.rights})
        for right in self._of(user.user_permissions.all()):
            found[right].append(_("own permission"))
        for right in of_users.get(user.pk, ()):
            found[right].append(_("own permission, here only"))
        for group in user.groups.all():
            for right in self._of(group.permissions.all()):
                found[right].append(_("group %(name)s") % {"name": group.name})
            for right in of_groups.get(group.pk, ()):
                found[right].append(_("group %(name)s, here only") % {"name": group.name})
        return found

    def _ask(self, user: Any, reasons: Reasons) -> None:
        """Let the backends decide: one of them may know more, or forbid what another one gives."""
        for right in self.rights:
            if not may(user, right, self.row):
                reasons[right] = []
            elif not reasons[right]:
                reasons[right] = [_("by the site's authentication backend")]

    def _of(self, permissions: Iterable[Permission]) -> list[Right]:
        names = (each.codename for each in permissions)
        return [self._codenames[name] for name in names if name in self._codenames]

    @property
    def _content_type(self) -> ContentType:
        return ContentType.objects.get_for_model(self.row)

    def _on_this(self, kind: str) -> QuerySet[Any]:
        """Return guardian's rows about this row: permissions of a "User", or of a "Group"."""
        model = apps.get_model("guardian", f"{kind}ObjectPermission")
        found: QuerySet[Any] = model._base_manager.filter(
            content_type=self._content_type,
            object_pk=str(self.row.pk),
            permission__codename__in=self._codenames,
        )
        return found

    def _named(self, kind: str, owners: Sequence[int] | set[int]) -> dict[int, set[Right]]:
        """Return the rights on this row only, by the key of their user or group."""
        if not self._by_guardian:
            return {}
        owner = kind.lower()
        rows = self._on_this(kind).filter(**{f"{owner}__in": owners})
        found: dict[int, set[Right]] = defaultdict(set)
        for key, codename in rows.values_list(owner, "permission__codename"):
            found[key].add(self._codenames[codename])
        return found
