"""What the arguments of an upgrade mean, for `--help` of manage.py and of fab."""

REACH_HELP = {
    "security": "vulnerable packages only, to the lowest version that is fixed",
    "patch": "to the newest patch version, like 5.2.7 to 5.2.8",
    "minor": "to the newest minor version, like 5.1 to 5.2",
    "latest": "to the newest version of all; the default",
}
HELP = {
    "package": "like django==5.2.8, or celery; default: all packages",
    "reason": "reason, shown in the history",
    "soak": "how long the canary, and each environment, must run well before the next; like 10m",
    "cooldown": "do not install younger versions, unless with --security; like 7d",
    "stop_on_failure": "if one environment fails, leave those before it as they are",
    "dry_run": "only show the packages that would move",
    "take_back": "agree that packages you did not name undo an upgrade or a fix",
}
