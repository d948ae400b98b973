"""The forges, by the kind that a webhook has. A new one is a file like its neighbours."""

from collections.abc import Mapping

from deploy_manager.forges.gitea import Gitea
from deploy_manager.forges.github import GitHub
from deploy_manager.forges.gitlab import GitLab
from deploy_manager.forges.said import Forge

FORGES: Mapping[str, Forge] = {"github": GitHub(), "gitlab": GitLab(), "gitea": Gitea()}
