"""What is pinned, installed, known and expected of packages, and what that means."""
