"""Declared secrets are masked in every form, however they arrive; all else comes back exactly."""

import base64
import html
import json
import random
import shlex
import textwrap
from collections.abc import Callable
from subprocess import CompletedProcess
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy_manager.logs import MAX_LINE, LineBuffer, mask, mask_text
from deploy_manager.masking import Masker, carried, learn, looks_secret, masker, masking
from deploy_manager.recipes.remote.processes.place import end_of
from deploy_manager.recipes.remote.tiers.running import said_by
from deploy_manager.sealing import Secret
from tests.planted import PLANTED, hits


def wrapped(text: str) -> str:
    return "\n".join(textwrap.wrap(text, max(4, len(text) // 9), drop_whitespace=False))


WRITTEN: dict[str, Callable[[str], bytes]] = {
    "as it is": lambda text: text.encode(),
    "in quotes": lambda text: f"'{text}'".encode(),
    "base64": lambda text: base64.b64encode(text.encode()),
    "base64, one on": lambda text: base64.b64encode(b":" + text.encode() + b"@x"),
    "base64, two on": lambda text: base64.b64encode(b"u:" + text.encode() + b"@"),
    "base64 for URLs": lambda text: base64.urlsafe_b64encode(b"u:" + text.encode()),
    "base64, wrapped": lambda text: base64.encodebytes(b"u:" + text.encode()),
    "quote": lambda text: quote(text).encode(),
    "quote, all of it": lambda text: quote(text, safe="").encode(),
    "quote_plus": lambda text: quote_plus(text).encode(),
    "small hex": lambda text: (
        quote(text, safe="").lower().encode()
        if text == text.lower()
        else quote(text, safe="").encode()
    ),
    "JSON": lambda text: json.dumps({"a": text}).encode(),
    "JSON in UTF-8": lambda text: json.dumps({"a": text}, ensure_ascii=False).encode(),
    "JSON for scripts": lambda text: json.dumps(text).replace("/", "\\/").encode(),
    "repr": lambda text: repr({"a": text}).encode(),
    "repr of bytes": lambda text: repr(text.encode()).encode(),
    "sh": lambda text: shlex.quote(text).encode(),
    "HTML": lambda text: html.escape(text).encode(),
    "wrapped": lambda text: wrapped(text).encode(),
    "CRLF": lambda text: text.replace("\n", "\r\n").encode(),
}


def through_buffer(content: bytes, cuts: list[int]) -> tuple[bytes, list[tuple[int, int]]]:
    """Return what a buffer gives, and how much was fed and given after each piece."""
    buffer, given_back, at, stored = LineBuffer(), b"", 0, [(0, 0)]
    for cut in [*sorted({min(cut, len(content)) for cut in cuts}), len(content)]:
        given_back += buffer.feed(content[at:cut])
        at = cut
        stored.append((at - buffer.held, len(given_back)))
    return given_back + buffer.flush(), stored


@pytest.mark.parametrize("how", WRITTEN)
@pytest.mark.parametrize("name", PLANTED)
def test_ten_kinds_of_secrets_are_masked_however_they_are_written(name: str, how: str) -> None:
    value = PLANTED[name]
    written = WRITTEN[how](value)
    with masking(Secret(each) for each in PLANTED.values()):
        for content in (written, b"before " + written + b" after\n"):
            assert hits(mask(content)) == set()
            for size in (1, 7, 1000):
                cuts = list(range(0, len(content), size))[:100]
                masked, _stored = through_buffer(content, cuts)
                assert hits(masked) == set()
                assert b"[masked]" in masked


LETTERS = st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=["Cs"])
SECRETS = st.lists(
    st.text(LETTERS, min_size=8, max_size=80).filter(
        lambda text: len(text.strip()) >= 8 and len(set(text)) > 3 and "mask" not in text
    ),
    min_size=1,
    max_size=4,
)  # fmt: skip
CUTS = st.lists(st.integers(0, 400), max_size=12)


@settings(max_examples=150, deadline=None)
@given(SECRETS, st.sampled_from(sorted(WRITTEN)), CUTS, st.text("xyz \n", max_size=50))
def test_no_secret_comes_through_whatever_the_pieces(
    secrets: list[str], how: str, cuts: list[int], around: str
) -> None:
    content = around.encode() + b"\n".join(WRITTEN[how](each) for each in secrets) + around.encode()
    with masking(map(Secret, secrets)):
        masked, stored = through_buffer(content, cuts)
        assert hits(masked, [("", each) for each in secrets]) == set()
        # Who takes over reads on from what is stored: nothing twice, nothing left out, no secret.
        for fed, given_back in stored:
            rest, _stored = through_buffer(content[fed:], [])
            together = masked[:given_back] + rest
            assert hits(together, [("", each) for each in secrets]) == set()
            assert together.count(b"\n") == masked.count(b"\n")


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400), CUTS)
def test_a_text_without_secrets_comes_back_exactly(content: bytes, cuts: list[int]) -> None:
    content = content.replace(b"://", b"")
    with masking([Secret("\U0001f511\U0001f512\U0001f513 correct horse"), Secret("ЖЖЖЖ-日本語")]):
        assert through_buffer(content, cuts)[0] == content


def test_a_secret_at_the_cut_of_an_overlong_line_is_masked() -> None:
    secret = "s3cretW0rd-of-many-letters"
    for before in range(MAX_LINE - 40, MAX_LINE + 40):
        with masking([Secret(secret)]):
            buffer = LineBuffer()
            given_back = buffer.feed(b"x" * before + secret[:13].encode())
            given_back += buffer.feed(secret[13:].encode() + b"y" * MAX_LINE)
            given_back += buffer.flush()
        assert given_back == b"x" * before + b"[masked]" + b"y" * MAX_LINE


def test_what_may_be_a_secret_is_held_in_bounds() -> None:
    with masking([Secret("abcdefgh" * 10)]):
        buffer, fed = LineBuffer(), 0
        for _ in range(40):
            buffer.feed(b"abcdefgh" * 1000 + b"\n")
            fed += 8001
            assert buffer.held < 2 * MAX_LINE
        buffer.flush()
        assert fed == 320_040


def test_a_line_is_not_kept_waiting_for_a_secret_that_it_does_not_begin() -> None:
    with masking([Secret("first line\nsecond line\n")]):
        buffer = LineBuffer()
        assert buffer.feed(b"an f\n") == b"an f\n"
        assert buffer.feed(b"first line\n") == b""
        assert buffer.feed(b"other\n") == b"[masked]\nother\n"


def test_what_is_left_of_a_secret_that_was_cut_off_is_masked() -> None:
    with masking([Secret("hunter2-and-more-letters")]):
        assert mask_text("it said: hunter2-and-mo") == "it said: [masked]"
        assert mask_text("and-more-letters, it said") == "[masked], it said"


def test_the_end_of_a_log_on_a_server_begins_with_no_part_of_a_line() -> None:
    secret = "hunter2-and-more-letters"
    log = f"began\nthe key is {secret}, which is wrong\nended\n".encode()
    for most in range(1, len(log) + 1):
        with masking([Secret(secret)]):
            shown = mask_text(f"It ended: {end_of(log, most)}")
        assert not any(secret[at:][:8] in shown for at in range(len(secret) - 8))
    assert end_of(log, len(log)).startswith("began\nthe key")
    assert end_of(log, 10) == "ended"
    assert "too long" in end_of(log.replace(b"\n", b" "), 10)


def test_what_a_program_of_a_tier_said_begins_with_no_part_of_a_line() -> None:
    secret = "hunter2-and-more-letters"
    for number in range(420, 432):
        said = f"the key is {secret}\n" + "a line\n" * number
        with masking([Secret(secret)]):
            shown = mask_text(f"redis: {said_by(CompletedProcess([], 1, '', said))}")
        assert not any(secret[at:][:8] in shown for at in range(len(secret) - 8))
    assert said_by(CompletedProcess([], 1, "short", "")) == "short"
    assert "too long" in said_by(CompletedProcess([], 1, secret * 200, ""))


@pytest.mark.parametrize("width", [1, 2, 3])
def test_a_secret_in_short_lines_does_not_come_through_whole(width: int) -> None:
    secret = "hunter2-and-more"
    with masking([Secret(secret)]):
        lines = "".join(f"{part}\n" for part in textwrap.wrap(secret, width))
        masked, _stored = through_buffer(lines.encode(), list(range(len(lines))))
    assert hits(masked, [("", secret)]) == set()
    assert len(masked.replace(b"[masked]", b"").replace(b"\n", b"")) <= 3


def test_the_password_of_a_declared_url_is_masked_alone_as_well() -> None:
    with masking([Secret("postgres://shop:p%40ss%2Fword@db.example/shop")]):
        assert mask_text("PASSWORD: 'p@ss/word', or p%40ss%2Fword") == (
            "PASSWORD: '[masked]', or [masked]"
        )


def test_a_token_in_place_of_the_user_of_a_declared_url_is_masked_alone_as_well() -> None:
    with masking([Secret("https://tok3n%2Fof-the-api@api.example/v1")]):
        assert mask_text("user tok3n/of-the-api, tok3n%2Fof-the-api") == "user [masked], [masked]"
    with masking([Secret("https://git@api.example/v1")]):
        assert mask_text("git clone") == "git clone"


def test_a_secret_that_is_opened_later_is_masked_from_then_on() -> None:
    with masking([Secret("declared-before")]):
        buffer = LineBuffer()
        assert buffer.feed(b"opened-") == b""
        carried(learn)(Secret("opened-later"))
        assert buffer.feed(b"later\n") == b"[masked]\n"
        assert mask_text("declared-before opened-later") == "[masked] [masked]"
        learn(Secret("x"))
        assert mask_text("x") == "x"


def test_what_one_thread_opens_is_masked_in_all_that_its_work_writes_down() -> None:
    with masking([]):
        with masking([Secret("secret-of-one")]):
            ask = carried(learn)
        with masking([Secret("secret-of-two")]):
            ask(Secret("opened-later"))
        with masking([Secret("secret-of-one")]):
            assert mask_text("opened-later") == "[masked]"
    assert mask_text("opened-later") == "opened-later"


def test_outside_of_a_work_nothing_is_learnt() -> None:
    learn(Secret("opened-by-a-page"))
    assert mask_text("opened-by-a-page") == "opened-by-a-page"
    assert not masker()


def test_one_work_does_not_mask_the_secrets_of_another() -> None:
    with masking([Secret("secret-of-one")]):
        with masking([Secret("secret-of-two")]):
            assert mask_text("secret-of-one secret-of-two") == "[masked] [masked]"
        assert mask_text("secret-of-two") == "secret-of-two"
        in_thread = carried(mask_text)
    assert mask_text("secret-of-one") == "secret-of-one"
    assert in_thread("secret-of-one") == "[masked]"
    assert not masker()


def test_a_masker_shows_none_of_its_secrets() -> None:
    assert "secret-of-one" not in repr(Masker([Secret("secret-of-one")]))


def test_the_password_of_a_url_may_have_any_letters() -> None:
    for password in ("pa/ss", "pa#ss", "pa?ss", "pa@ss", "a/b@c#d?e"):
        assert (
            mask(f"postgres://me:{password}@db/shop".encode()) == b"postgres://me:[masked]@db/shop"
        )
        assert mask(f"https://me:{password}@db/shop".encode()) == b"https://[masked]@db/shop"
    for plain in ("http://[::1]:8000/a@b", "ssh://git@example.org:22/x@y"):
        assert mask_text(plain) == plain


def test_variables_that_look_like_secrets_are_named() -> None:
    variables = {"DEBUG": "0", "API_KEY": "abcd", "DATABASE_URL": "postgres://a:bcde@c/d", "X": 1}
    assert looks_secret(variables) == ["API_KEY", "DATABASE_URL"]


def test_many_secrets_are_found_in_one_pass() -> None:
    rnd = random.Random(3)
    secrets = ["".join(rnd.choices("abcdefghijkXYZ0123456789", k=20)) for _ in range(200)]
    with masking(map(Secret, secrets)):
        assert mask_text(" ".join(secrets)) == " ".join(["[masked]"] * 200)
