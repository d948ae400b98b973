"""The worker's own mirror clone of a repository: what a ref means, and the code of one commit."""
