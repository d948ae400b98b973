"""When this process ends: what runs on servers goes on there, and another worker takes it up."""

import threading

process_ends = threading.Event()
"""Once set, every shard that this process holds is given back within a second or two."""
