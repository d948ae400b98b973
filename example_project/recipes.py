"""The recipes of this project: they appear in the admin's actions and in `fab` automatically."""

from deploy_manager.recipes import Host, Site, recipe


@recipe("Show disk space", roles=["app"])
def disk_space(host: Host, site: Site) -> None:
    """Print how much space each release and virtual environment takes, and how much is free."""
    host.run(["df", "-h", site.deploy_path])
    with host.cd(site.deploy_path):
        host.run("du -sh releases/* venvs/*")
