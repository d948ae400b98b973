"""Your own Django admin deploys your Django sites."""

__version__ = "0.1.0"
