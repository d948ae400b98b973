"""Names of branches and tags, as git allows them and no shell could ever mistake them."""

import re

# https://git-scm.com/docs/git-check-ref-format, and no option.
_NOT_IN_GIT = re.compile(r"\A-|[ ~^:?*\[\\]|\.\.|@\{|//|\A/|/\Z|\.\Z|(\A|/)\.|\.lock(/|\Z)|\A@\Z")
_OF_SHELLS = re.compile(r"[$`'\"|&;<>]")
"""git would take them. No ref of ours ever reaches a shell, and none is worth the worry."""


def is_ref_name(text: str) -> bool:
    """Whether a branch or a tag may be named so; letters of any language are welcome."""
    # What can't be printed is an escape sequence, a hidden direction of writing, or no text at all.
    if not text or not text.isprintable():
        return False
    return not _NOT_IN_GIT.search(text) and not _OF_SHELLS.search(text)
