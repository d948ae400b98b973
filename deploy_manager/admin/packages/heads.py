"""The head of a server's column, of which a page may have a thousand.

Made without a template, which takes several times as long for each of them.
"""

from typing import TYPE_CHECKING

from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _

from deploy_manager.models.deployments import CONVERGE

if TYPE_CHECKING:
    from deploy_manager.admin.packages.table import Column

_UNKNOWN = mark_safe(' data-is="unknown"')


class HeadMaker:
    """Makes the heads of the servers of an environment."""

    def __init__(self, *, may_deploy: bool) -> None:
        self._may_deploy = may_deploy
        # Looked up once, not for each server.
        self._ask = _("Ask again what is installed")
        self._silent = _("could not be asked")
        self._repairs = _("Make it like the others…"), _("Deploy…")

    def make(self, column: "Column") -> SafeString:
        """Return the cell that names a server and says how old its packages are."""
        place = column.place
        asked = column.asked
        return format_html(
            '<th scope="col" class="dm-server"{}><strong>{}</strong>\n'
            '<small title="{}">{}</small>\n{}{}\n{}</th>',
            "" if place.is_known else _UNKNOWN,
            place.server,
            column.seen_exactly,
            column.seen,
            format_html('<small class="dm-asked">{}</small>\n', asked) if asked else "",
            self._why(str(place.problem)) if place.problem else "",
            self._tools(column) if self._may_deploy else "",
        )

    def _why(self, problem: str) -> SafeString:
        return format_html('<small class="dm-why" title="{}">{}</small>', problem, self._silent)

    def _tools(self, column: "Column") -> SafeString:
        return format_html(
            '<span class="dm-tools"><button type="submit" name="placement" value="{}" title="{}">'
            '<span aria-hidden="true">↻</span><span class="dm-hidden">{}: {}</span></button>{}'
            "</span>",
            column.place.pk,
            self._ask,
            self._ask,
            column.place.server,
            self._repair(column) if column.has_drift else "",
        )

    def _repair(self, column: "Column") -> SafeString:
        converge, deploy = self._repairs
        words = converge if column.repair == CONVERGE else deploy
        return format_html(' <a href="{}">{}</a>', column.repair_url, words)
