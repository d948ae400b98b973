"""Tests of the tiers, a file for each kind: on real servers that machines of the tests run."""
