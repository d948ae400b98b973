"""The worker's wheels: fetched once, verified against the lock, kept by what is in them.

Pure: no database. What has no wheel is handed to a `Build` of the caller's, once for a Python.
"""
