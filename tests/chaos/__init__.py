"""What happens when things die: `python -m tests.chaos [row …] [--count N] [--seed S] [--short]`.

Each row breaks something again and again, at random moments, while real deployments run on a real
PostgreSQL, a real Redis and real worker processes, and then judges by what stands on the servers
and in the rows. Everything is on loopback, bounded in count and time, and ended by its process id.
"""
