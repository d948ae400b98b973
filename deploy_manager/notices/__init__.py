"""Telling people outside: by mail, chat or webhook, wherever apprise delivers."""

from deploy_manager.notices.sending import check_targets, send

__all__ = ["check_targets", "send"]
