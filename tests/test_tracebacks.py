"""A health check that is answered with a server error says what the site raised."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from deploy_manager.exceptions import CommandFailed
from deploy_manager.recipes import HealthCheck
from tests.recipe_site import CODE, SETTINGS, RecipeSite

BROKEN = """
ROOT_URLCONF = "urls"
ALLOWED_HOSTS = ["www.example.org"]
"""
URLS = """
from django.urls import path
def price(request):
    raise LookupError(f"no price of {request.GET['of']}")
urlpatterns = [path("price/", price)]
"""


class ServerError(BaseHTTPRequestHandler):
    """Answers as Django does while DEBUG is off."""

    def do_GET(self) -> None:
        self.send_error(500)

    def log_message(self, *_words: object) -> None:
        """Nothing is written."""


@pytest.fixture
def failing(recipe_site: RecipeSite) -> Iterator[RecipeSite]:
    """A site whose only page fails, behind a web server of its own."""
    files = {**CODE, "shop_settings.py": SETTINGS + BROKEN, "urls.py": URLS}
    recipe_site.take("r1", files)
    recipe_site.run("activate")
    server = ThreadingHTTPServer(("127.0.0.1", 0), ServerError)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    url = f"http://127.0.0.1:{server.server_address[1]}/price/?of=tea"
    recipe_site.use(
        health=HealthCheck(url=url, host_header="www.example.org", deadline=0.1),
    )
    yield recipe_site
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_server_error_is_logged_with_its_traceback(failing: RecipeSite) -> None:
    with pytest.raises(CommandFailed, match="Status 500 where 200 is expected"):
        failing.run("verify")
    said = failing.printed.decode()
    assert "LookupError: no price of tea" in said
    assert 'urls.py", line 4, in price' in said


def test_if_the_code_is_well_that_is_said(failing: RecipeSite) -> None:
    well = URLS.replace("raise LookupError(", "return __import__('django.http').http.HttpResponse(")
    failing.take("r2", {**CODE, "shop_settings.py": SETTINGS + BROKEN, "urls.py": well})
    failing.run("activate")
    with pytest.raises(CommandFailed):
        failing.run("verify")
    assert "is answered with status 200: the reason is in how" in failing.printed.decode()
