"""What happens when things die: `python -m tests.chaos [row …] [--count N] [--seed S] [--short]`.

Each row breaks something again and again, at random moments, while real deployments run on a real
PostgreSQL, a real Redis and real worker processes, and then judges by what stands on the servers
and in the rows. Everything is on loopback or in a network namespace of its own, bounded in count
and time, and ended by its process id. It ends non-zero where a demand was not met.

What is stored of the log is judged in every row; two schedulers are in tests/test_schedules.py.
"""
