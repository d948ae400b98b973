"""The views of a command line: JSON lines for programs, plain lines or a live table for people."""
