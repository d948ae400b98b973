"""The guard: a small process on the server that owns a deployment's commands there.

It holds the lock of the deploy path, refuses a worker that lost its claim, runs every command in a
session of its own and keeps output and exit code in a journal. Workers may disconnect and come
back: a command that was requested before is not run again, its output and exit code are sent again.

Only the standard library of Python 3.8 and newer is used: any server has that.
"""
