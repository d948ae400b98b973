"""Recipes of this project: they stand in the admin's actions and in `fab` without further words."""

from deploy_manager.recipes import Host, Site, recipe


@recipe("Show disk space", roles=["app"])
def disk_space(host: Host, site: Site) -> None:
    """Tell how much each release and each environment takes, and what is left."""
    host.run(["df", "-h", site.deploy_path])
    with host.cd(site.deploy_path):
        host.run("du -sh releases/* venvs/*")
