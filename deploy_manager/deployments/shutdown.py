"""The end of this process: commands on servers keep running, and another worker continues them."""

import threading

process_ends = threading.Event()
"""Once set, every shard that this process holds is released within a second or two."""
