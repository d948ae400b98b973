"""The command lines: manage.py and fab."""
