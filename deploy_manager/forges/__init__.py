"""Forges: what GitHub, GitLab and Gitea send when somebody pushes or a CI has run. No database."""
