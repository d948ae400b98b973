"""Windows and cron slots in named time zones; pure, no database."""
