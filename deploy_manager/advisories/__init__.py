"""What is known against versions of packages, by several sources. Pure: no database."""
