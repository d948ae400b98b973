"""Notifications by mail, chat or webhook: every service that apprise supports."""
