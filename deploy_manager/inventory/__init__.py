"""The inventory's own engine: servers come from other tools, go to them, and get host keys."""
