"""The guard: a small process on the server that owns a deployment's commands there.

It holds the lock of the deploy path, refuses who lost the claim, runs every command in a session of
its own and keeps output and exit code in a journal. Whoever speaks to it may come and go: a command
that was asked for before is not run again, its output and exit code are told again.

Only the standard library of Python 3.8 and newer is used: any server has that.
"""
