"""Bytes become whole lines, in order, exactly, with secrets masked."""

import pytest

from deploy_manager.logs import MAX_LINE, LineBuffer, cut_lines, mask


def through_buffer(pieces: list[bytes]) -> bytes:
    buffer = LineBuffer()
    return b"".join([buffer.feed(piece) for piece in pieces]) + buffer.flush()


def test_a_line_is_given_back_when_it_is_whole() -> None:
    buffer = LineBuffer()
    assert buffer.feed(b"one\ntw") == b"one\n"
    assert buffer.feed(b"o\n") == b"two\n"
    assert buffer.flush() == b""


def test_a_last_line_without_an_end_is_not_lost() -> None:
    assert through_buffer([b"one\n", b"two"]) == b"one\ntwo"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
def test_bytes_of_any_kind_come_back_exactly(size: int) -> None:
    content = bytes(range(256)) * 5
    pieces = [content[start : start + size] for start in range(0, len(content), size)]
    assert through_buffer(pieces) == content


def test_a_password_in_a_url_is_masked_even_when_it_arrives_in_two_pieces() -> None:
    pieces = [b"get https://me:sec", b"ret@index.example/simple\n"]
    assert through_buffer(pieces) == b"get https://[masked]@index.example/simple\n"


def test_a_token_in_a_url_is_masked() -> None:
    assert mask(b"https://token@example.org/x") == b"https://[masked]@example.org/x"
    assert mask(b"ssh://git:secret@example.org/x") == b"ssh://git:[masked]@example.org/x"


def test_an_address_without_a_password_stays_as_it_is() -> None:
    line = b"ssh://git@example.org/shop git@example.org:shop.git https://example.org:8000/a@b"
    assert mask(line) == line


def test_a_line_without_end_is_held_in_bounds() -> None:
    buffer = LineBuffer()
    given = b"".join(buffer.feed(b"x" * 1000) for _ in range(200))
    assert len(given) >= 200_000 - MAX_LINE - 1000
    assert given + buffer.flush() == b"x" * 200_000


def test_an_overlong_line_is_cut_where_no_url_can_be() -> None:
    filler = b"word " * (MAX_LINE // 5)
    pieces = [filler, b"https://me:sec", b"ret@example.org/", b" end\n"]
    assert b"secret" not in through_buffer(pieces)


def test_what_is_too_much_for_one_chunk_is_cut_between_lines() -> None:
    lines = "".join(f"{number} käse\n" for number in range(1000)).encode()
    pieces = list(cut_lines(lines, 500))
    assert b"".join(pieces) == lines
    assert all(len(piece) <= 500 and piece.endswith(b"\n") for piece in pieces)


def test_a_line_that_alone_is_too_much_is_cut_anywhere() -> None:
    assert list(cut_lines(b"a\n" + b"x" * 12 + b"\n", 5)) == [b"a\n", b"xxxxx", b"xxxxx", b"xx\n"]
    assert list(cut_lines(b"", 5)) == []
