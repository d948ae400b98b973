"""Speaking with a package index, whose certificate is trusted as the system does."""

from pypi_simple import PyPISimple

from deploy_manager.https import open_session


def open_client(index_url: str) -> PyPISimple:
    """Return a client of a package index, to be closed."""
    return PyPISimple(index_url, session=open_session())
