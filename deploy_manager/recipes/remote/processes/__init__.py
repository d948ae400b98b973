"""The processes of a site, on its server: started, replaced, proven and ended. Python 3.11+.

Sent as one zip file, `.deploy/processes.pyz`, under a package name that no site has. Run as
`processes.pyz launch|serve|serve-asgi …` by what supervises a process, and with facts on stdin by a
deployment: see main.py.
"""
