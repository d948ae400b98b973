"""What runs on servers of its own: sent there, imported here for its words only."""
