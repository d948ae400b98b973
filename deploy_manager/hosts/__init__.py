"""Hosts: commands and files on a server over SSH, or on this machine.

The only place that knows fabric and paramiko.
"""
