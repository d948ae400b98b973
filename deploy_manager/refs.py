"""Names of branches and tags: allowed by git, and without a meaning to any shell."""

import re

# https://git-scm.com/docs/git-check-ref-format; and a leading "-" would be read as an option.
_NOT_IN_GIT = re.compile(r"\A-|[ ~^:?*\[\\]|\.\.|@\{|//|\A/|/\Z|\.\Z|(\A|/)\.|\.lock(/|\Z)|\A@\Z")
_OF_SHELLS = re.compile(r"[$`'\"|&;<>]")
"""git allows them. No ref of ours reaches a shell; this is a second line of defence."""


def is_ref_name(text: str) -> bool:
    """Return whether a branch or a tag may have this name; letters of any language are allowed."""
    # Unprintable characters are escape sequences, changes of direction, or lone surrogates.
    if not text or not text.isprintable():
        return False
    return not _NOT_IN_GIT.search(text) and not _OF_SHELLS.search(text)
