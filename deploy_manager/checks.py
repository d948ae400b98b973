"""System checks: what `manage.py check` says is missing."""
