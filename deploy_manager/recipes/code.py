"""The code of a release, unpacked from the archive of one commit."""

import shlex

from django.utils.translation import gettext_noop as _

from deploy_manager.conf import get_settings
from deploy_manager.exceptions import RecipeError
from deploy_manager.recipes.host import Host, Site
from deploy_manager.recipes.registry import Uses, recipe
from deploy_manager.recipes.shipping import make_tools_folder, run_shipped


@recipe(_("Check out the latest code"), uses=Uses.NEW)
def checkout_latest(host: Host, site: Site) -> None:
    """Unpack the commit beside the other releases. The current release is not touched."""
    release = site.require_release()
    if site.archive is None:
        raise RecipeError(
            _("There is no archive of release %(release)s to send: deploy the commit again."),
            release=release,
        )
    complete = ["test", "-e", f"{site.release_path}/.complete"]
    if host.run(complete, check=False, quiet=True, assume=1).ok:
        host.say(f"Release {release} is already here.")
        return
    folders = shlex.join([site.releases_path, site.shared_path])
    host.run(f"mkdir -p -- {folders} && {make_tools_folder(site)}")
    archive = f"{site.tools_path}/{release}.tar.gz"
    host.put(site.archive, archive, mode=0o600)
    facts = {
        "archive": archive,
        "release": site.release_path,
        "current": site.current_path,
        "shared": site.shared_path,
        "folders": site.shared,
        "variables": variables_text(site),
        "variables_path": site.variables_path,
        "max_bytes": get_settings().MAX_ARCHIVE_BYTES,
    }
    run_shipped(host, site, "unpack.py", facts)
    host.say(f"Commit {site.commit} was unpacked into {site.release_path}.")


def variables_text(site: Site) -> str:
    """Return a site's variables as quoted `export` lines for sh."""
    secret = {name: each.value for name, each in site.secret_variables.items()}
    variables = {**secret, **site.variables}
    if site.settings_module:
        variables["DJANGO_SETTINGS_MODULE"] = site.settings_module
    # Last: no variable of the site may pass for these.
    variables |= {"DEPLOY_COMMIT": site.commit, "DEPLOY_RELEASE": site.release}
    return "".join(
        f"export {name}={shlex.quote(value)}\n" for name, value in sorted(variables.items())
    )
