"""The API: JSON for programs, by the same engines as the admin and the command line."""
