"""Allowed times and cron slots in named time zones; pure functions without a database."""
