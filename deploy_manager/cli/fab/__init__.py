"""fab: every environment and every recipe as a task."""
