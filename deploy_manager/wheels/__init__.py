"""The worker's wheels: fetched once, verified against the lock, kept by their content.

Pure: no database. An sdist without a wheel is built by the caller's `Build`, once for each Python.
"""
