"""In maintenance visitors get a page with 503, and who knows the secret gets the site."""

import stat

from deploy_manager.recipes.maintenance import maintenance_down, maintenance_up
from deploy_manager.recipes.serving import reload
from tests.parts.served import Served


def _serve(served: Served) -> None:
    served.release("one")
    reload(served.host, served.site)


def test_visitors_get_our_page_and_are_reported_to_come_back(served: Served) -> None:
    _serve(served)

    maintenance_up(served.host, served.site)

    answer = served.ask()
    assert answer.status == 503
    assert "Down for maintenance" in answer.text
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"


def test_a_page_of_the_code_is_preferred(served: Served) -> None:
    served.folder = "src"
    release = served.release("one")
    (release / "maintenance.html").write_text("top of the code")
    reload(served.host, served.site)

    maintenance_up(served.host, served.site)
    assert served.ask().text == "top of the code"

    (release / "src" / "maintenance.html").write_text("beside manage.py")
    maintenance_up(served.host, served.site)
    assert served.ask().text == "beside manage.py"


def test_only_a_question_for_the_head_gets_no_body(served: Served) -> None:
    _serve(served)
    maintenance_up(served.host, served.site)

    answer = served.ask(method="HEAD")

    assert (answer.status, answer.text) == (503, "")


def test_the_secret_leads_past_the_page_and_shows_the_release(served: Served) -> None:
    _serve(served)
    maintenance_up(served.host, served.site)

    answer = served.ask(X_Maintenance_Bypass=served.bypass)

    assert (answer.status, answer.text) == (200, "one ")
    assert answer.headers["X-Deploy-Release"] == "one"


def test_a_wrong_secret_leads_nowhere(served: Served) -> None:
    _serve(served)
    maintenance_up(served.host, served.site)

    for secret in ("", "guessed", "\xe9"):
        assert served.ask(X_Maintenance_Bypass=secret).status == 503


def test_the_release_is_not_told_to_everybody(served: Served) -> None:
    _serve(served)

    assert "X-Deploy-Release" not in served.ask().headers


def test_the_secret_is_for_the_account_only(served: Served) -> None:
    _serve(served)

    mode = (served.path / ".deploy" / "bypass").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600


def test_it_stays_up_over_a_reload_until_it_is_taken_down(served: Served) -> None:
    _serve(served)
    maintenance_up(served.host, served.site)
    served.release("two")
    reload(served.host, served.site)
    assert served.ask().status == 503

    maintenance_down(served.host, served.site)

    assert served.ask().text == "two "


def test_it_can_go_up_and_down_twice_and_before_a_first_release(served: Served) -> None:
    maintenance_up(served.host, served.site)
    maintenance_up(served.host, served.site)
    assert (served.path / "maintenance" / "on").exists()
    assert "Down for maintenance" in (served.path / "maintenance" / "index.html").read_text()

    maintenance_down(served.host, served.site)
    maintenance_down(served.host, served.site)
    assert not (served.path / "maintenance" / "on").exists()


def test_a_damaged_page_does_not_let_visitors_in(served: Served) -> None:
    _serve(served)
    maintenance_up(served.host, served.site)
    (served.path / "maintenance" / "index.html").unlink()

    answer = served.ask()

    assert answer.status == 503
    assert "maintenance" in answer.text
