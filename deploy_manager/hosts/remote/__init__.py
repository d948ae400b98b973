"""Programs that are sent to servers and run there; imported here only for shared constants."""
