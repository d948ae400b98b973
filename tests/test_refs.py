"""Which names of branches and tags are taken: those that git takes, but for signs of shells."""

import pytest
from django.core.exceptions import ValidationError

from deploy_manager.models import Environment

TAKEN = [
    *["main", "feature/x", "v1.0", "release-2@3", "c" * 40, "feature/#1", "#1", "+x", "_x", "@x"],
    *["fix(api)!", "a=b,c", "100%", "x]y}z", "a{b", "été", "e\u0301t", "機能/ログ", "ship-🚀"],
]
REFUSED = [
    *["", "--help", "a..b", "a//b", "main/", "/main", "a.lock", "a.lock/b", "HEAD@{1}", "v1^"],
    *["a:b", "@", ".a", "a/.b", "a.", "a b", "a~1", "a?", "a*", "a[b", "a\\b", "x" * 201],
    *["a\u202eb", "a\x7fb", "a\u00a0b", "a\ud800", "a\n", "a\x1b[2J", "a\0b", "a\u2028b"],
    *["$(id)", "`id`", "a;id", "a|id", "a&id", "a>x", "a<x", "it's", 'a"b'],
]


def is_taken(name: str) -> bool:
    try:
        Environment._meta.get_field("ref").clean(name, None)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize("name", TAKEN)
def test_what_git_takes_is_taken(name: str) -> None:
    assert is_taken(name)


@pytest.mark.parametrize("name", REFUSED)
def test_what_git_refuses_is_refused_and_what_a_shell_would_run(name: str) -> None:
    assert not is_taken(name)
