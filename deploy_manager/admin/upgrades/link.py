"""The address of the page where an upgrade begins, filled in beforehand."""

from collections.abc import Iterable
from urllib.parse import urlencode

from django.urls import reverse


def upgrade_link(
    package: str,
    environments: Iterable[int],
    *,
    reach: str,
    version: str = "",
    advisory: int | None = None,
) -> str:
    """The address of the page for one package on these environments.

    `reach` is exact (then with a version), patch, minor, latest or fix.
    """
    query: dict[str, object] = {"package": package, "reach": reach}
    if version:
        query["version"] = version
    query["environment"] = list(environments)
    if advisory is not None:
        query["advisory"] = advisory
    return f"{reverse('admin:deploy_manager_upgrade_add')}?{urlencode(query, doseq=True)}"
