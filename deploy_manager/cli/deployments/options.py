"""The help texts of the options that requests have: `--to`, `--at` and the like."""

HELP = {
    "ref": "branch, tag or commit to deploy, only this time",
    "server": "run on this server only; may be repeated",
    "reason": "reason, shown in the history",
    "to": "name of a release, or the beginning of its commit; default: the last good one before",
    "force_migration": "do not reverse this irreversible migration; may be repeated",
    "dry_run": "show each command, without contacting any server",
    "command": "the words after the site's manage.py: 'clearsessions -v 2'; stored and shown",
    "leave_others": "agree that the other servers go on serving another commit",
    "break_glass": "run without the approvals that are needed; --reason is told to everybody",
    "take_back": "agree to take back what an upgrade or a fix brought",
    "from": "environment whose code comes here; default: the one it is promoted from",
}
"""The help texts that manage.py and fab share."""
