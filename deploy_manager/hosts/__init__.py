"""Servers at work: commands and files on another machine over SSH, or on this one.

The only place that knows fabric and paramiko.
"""
