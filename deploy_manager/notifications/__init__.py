"""Telling people outside: by mail, chat or webhook, wherever apprise delivers."""
