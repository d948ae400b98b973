"""What is installed on servers, what indexes have, what is known against it, and who differs."""
