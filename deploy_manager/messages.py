"""Messages that rows keep: a reason code and parameters, put into words where they are read.

A worker does not know who will read what it writes, so it writes no sentence: it writes the English
template and what belongs in it. The words come when the message becomes text, in the language that
is active then.
"""

import json
import re
from collections import UserString
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext, gettext_noop, pgettext
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext as choose

from deploy_manager.logs import mask_text

REASONS = {
    "advisories_unavailable": _("Advisories unavailable"),
    "approval_expired": _("Not approved in time"),
    "cancelled": _("Cancelled"),
    "claim_lost": _("Taken by another process"),
    "code_error": _("Code of the repository"),
    "command_failed": _("Command failed"),
    "command_timed_out": _("Command timed out"),
    "configuration_error": _("Configuration"),
    "connection_lost": _("Connection lost"),
    "cut_short": _("Cut short"),
    "deadline_passed": _("Deadline passed"),
    "denied": _("Denied"),
    "earlier_environment_failed": _("Earlier environment failed"),
    "error": _("Error"),
    "handed_over": _("Handed over"),
    "host_key_mismatch": _("Host key mismatch"),
    "host_unreachable": _("Host unreachable"),
    "index_unreachable": _("Package index unreachable"),
    "invalid_row": _("Invalid row"),
    "inventory_error": _("Inventory of another tool"),
    "key_unusable": _("Key unusable"),
    "left_alone": _("Left to a person"),
    "never_begun": _("Never begun"),
    "no_commands": _("No commands on the server"),
    "no_role": _("No role for it"),
    "no_solution": _("No versions fit together"),
    "no_worker_woken": _("No worker woken"),
    "not_deployed": _("Nothing deployed"),
    "not_green": _("Checks not green"),
    "not_needed": _("Not needed"),
    "not_promoted": _("Not promoted"),
    "notification_failed": _("Notification failed"),
    "owner_may_not": _("Owner without the right"),
    "owner_missing": _("No owner"),
    "paused": _("Paused"),
    "pin_error": _("Pins"),
    "plan_changed": _("Changed since it was confirmed"),
    "promotion_changed": _("Promoted from what changed"),
    "recipe_error": _("Recipe stopped"),
    "request_refused": _("Request refused"),
    "rolled_back": _("Rolled back"),
    "secret_unreadable": _("Secret unreadable"),
    "server_busy": _("Server busy"),
    "server_removed": _("Server removed"),
    "steps_left": _("Steps left undone"),
    "times_unreadable": _("Allowed times unreadable"),
    "token_outdated": _("Later deployment seen"),
    "token_revoked": _("Token revoked"),
    "too_many_failed": _("Too many servers failed"),
    "unexpected_error": _("Unexpected error"),
    "unknown_recipe": _("Unknown recipe"),
    "waits_for_approval": _("Waits for approval"),
    "webhook_failed": _("Webhook failed"),
    "webhook_off": _("Webhook off"),
    "wheel_error": _("Wheels"),
    "worker_silent": _("Worker fell silent"),
}
"""Every code, with its label in the reader's language. See docs/reasons.md."""

LONGEST_CODE = 50
DEEPEST = 10
"""Messages in messages: a row that holds more was not written by us."""

MOST_NAMED = 5
"""Names in a message that has a number for the rest."""

SIGNS = (gettext_noop(": "), gettext_noop("; "))
"""What stands between messages that are put together: French has a space before it, too."""

# Only between two gaps: a sign between words is up to the translator of the template.
_SIGN = re.compile(r"(?<=\)s)[:;] (?=%\()")
_PLACEHOLDER = re.compile(r"%(?:%|\((\w+)\)([sdr]))")


@dataclass(frozen=True)
class Part:
    """One sentence: its reason, the English template, and what belongs in it."""

    code: str = ""
    text: str = ""
    params: dict[str, "str | int | Message"] = field(default_factory=dict)
    plural: str = ""
    """The template for all numbers but one, of its parameter `count`."""

    def render(self) -> str:
        """Return it in the active language; a template that can't be filled shows its gaps."""
        if not self.text:
            return ""  # gettext would answer with the header of the catalog
        count = self.params.get("count")
        if self.plural and isinstance(count, int):
            text = choose(self.text, self.plural, count)
        else:
            text = gettext(self.text)
        if self.params and text == self.text:
            # It has no words of its own, like "%(server)s: %(why)s", or no translation.
            text = _SIGN.sub(lambda sign: gettext(sign[0]), text)
        # Without parameters it may be a server's own words, in which a % is a %.
        return _PLACEHOLDER.sub(self._fill, text) if self.params else text

    def _fill(self, gap: re.Match[str]) -> str:
        # Not the operator %: what a row holds may ask it for a width of a thousand million.
        if gap[0] == "%%":
            return "%"
        if gap[1] not in self.params:
            return gap[0]
        words = str(self.params[gap[1]])
        return repr(words) if gap[2] == "r" else words


class Message(UserString):
    """One or more sentences, each with a reason code; its text is that of the active language.

    Text without parameters is shown as it is, if no catalog knows it: also a server's own words.
    Without a code of its own a message has that of the first message among its parameters.
    """

    def __init__(
        self, text: "str | Promise | Message" = "", code: str = "", /, **params: object
    ) -> None:
        if isinstance(text, Message):
            self.parts: tuple[Part, ...] = text.parts
            return
        known = {name: _as_param(value) for name, value in params.items()}
        inner = (value.code for value in known.values() if isinstance(value, Message))
        code = code or next(filter(None, inner), "")
        text = _template(text)
        self.parts = (Part(code, text, known),) if text else ()

    @classmethod
    def lines(cls, *messages: "str | Promise | Message") -> "Message":
        """Return messages below each other, without the empty ones."""
        return cls._of(*(part for each in messages for part in Message(each).parts))

    @classmethod
    def of_json(cls, data: object, depth: int = 0) -> "Message":
        """Return what a row holds, whatever that is."""
        if isinstance(data, str):
            return cls(mask_text(data))
        if not isinstance(data, list):
            return cls(mask_text(json.dumps(data))) if data else cls()
        return cls._of(*filter(lambda part: part.text, (_read(each, depth) for each in data)))

    @classmethod
    def _of(cls, *parts: Part) -> "Message":
        message = cls()
        message.parts = parts
        return message

    @property
    def data(self) -> str:  # type: ignore[override]
        """The text in the active language."""
        return "\n".join(part.render() for part in self.parts)

    @property
    def code(self) -> str:
        """The reason, of the first sentence that has one."""
        return next(iter(self.codes), "")

    @property
    def codes(self) -> list[str]:
        """The reasons of its sentences, each once."""
        return list(dict.fromkeys(part.code for part in self.parts if part.code))

    def with_code(self, code: str) -> "Message":
        """Return it with this reason, instead of those that it has."""
        return self._of(*(replace(part, code=code) for part in self.parts))

    def masked(self, longest: int | None = None) -> "Message":
        """Return it as a row would keep it; see `as_json`."""
        return self.of_json(self.as_json(longest))

    def as_json(self, longest: int | None = None) -> list[dict[str, Any]]:
        """Return it as a row keeps it: masked, each text in it at most so long."""
        return list(self._as_json(longest))

    def _as_json(self, longest: int | None) -> Iterator[dict[str, Any]]:
        for part in self.parts:
            # In this order, always: SQLite compares JSON as text.
            kept: dict[str, Any] = {"code": part.code, "text": mask_text(part.text)[:longest]}
            if part.params:
                kept["params"] = {
                    name: value.as_json(longest)
                    if isinstance(value, Message)
                    else mask_text(value)[:longest]
                    if isinstance(value, str)
                    else value
                    for name, value in sorted(part.params.items())
                }
            if part.plural:
                kept["plural"] = part.plural
            yield kept

    def __repr__(self) -> str:
        return f"Message({str(self)!r}, codes={self.codes})"

    def __eq__(self, other: object) -> bool:
        return self.parts == other.parts if isinstance(other, Message) else str(self) == other

    def __hash__(self) -> int:
        # That of its text, as it equals a plain text: what is equal must have the same hash.
        return hash(str(self))


def ngettext(one: str, many: str, count: int, code: str = "", /, **params: object) -> Message:
    """Return a message that has another template for one thing than for several: `%(count)d`."""
    message = Message(one, code, count=count, **params)
    message.parts = tuple(replace(part, plural=many) for part in message.parts)
    return message


def join(messages: "Iterable[str | Message]", separator: str = ", ") -> Message:
    """Return messages in one line."""
    each = {f"it{number}": message for number, message in enumerate(messages)}
    return Message(separator.join(f"%({name})s" for name in each), **each)


def few(names: Sequence[str], most: int = MOST_NAMED) -> Message:
    """Return the first names, and how many more there are."""
    listed, more = ", ".join(names[:most]), len(names) - most
    if more <= 0:
        return Message(listed)
    return Message(gettext_noop("%(names)s and %(more)d more"), names=listed, more=more)


def message_of(error: BaseException) -> "Message":
    """Return what an exception says: the message that it was raised with, or its text."""
    kept = getattr(error, "message", error.args[0] if error.args else "")
    return kept if isinstance(kept, Message) else Message(str(error))


def in_words(values: dict[str, Any]) -> dict[str, Any]:
    """Return an object for programs: its messages as text, with the reasons of those at its top."""
    codes = [code for each in values.values() if isinstance(each, Message) for code in each.codes]
    reasons = {"reason": list(dict.fromkeys(codes))} if codes else {}
    return reasons | {name: _in_words(value) for name, value in values.items()}


def _in_words(value: object) -> Any:
    if isinstance(value, Message):
        return str(value)
    if isinstance(value, dict):
        return {name: _in_words(each) for name, each in value.items()}
    return [_in_words(each) for each in value] if isinstance(value, list | tuple) else value


def label_of(code: str) -> str:
    """Return a reason for people; a code that this version does not know stays as it is."""
    return str(REASONS.get(code, code))


def _template(text: str | Promise) -> str:
    if isinstance(text, Promise):
        # Not translated for a moment to English: that would change what language is active.
        kept: Any = text.__reduce__()
        function, words = kept[1][:2]
        if function is gettext:
            return str(words[0])
        if function is pgettext:
            return str(words[1])
    return str(text)


def _as_param(value: object) -> "str | int | Message":
    if isinstance(value, BaseException):
        value = message_of(value)
    if isinstance(value, Promise):
        return Message(value)
    if isinstance(value, Message) or type(value) is int:
        return value
    return str(value)


def _read(part: object, depth: int) -> Part:
    if not isinstance(part, dict):
        return Part(text=mask_text(part if isinstance(part, str) else json.dumps(part)))
    code, text, params, plural = (part.get(key) for key in ("code", "text", "params", "plural"))
    code = code if isinstance(code, str) else ""
    if not isinstance(text, str):
        return Part(text=mask_text(json.dumps(part)))
    return Part(
        # A reason of ours is no secret, even if a secret of a site is the same word.
        code=code if code in REASONS else mask_text(code)[:LONGEST_CODE],
        text=mask_text(text),
        params={
            mask_text(name): _read_param(value, depth)
            for name, value in (params.items() if isinstance(params, dict) else ())
        },
        plural=mask_text(plural) if isinstance(plural, str) else "",
    )


def _read_param(value: object, depth: int) -> "str | int | Message":
    if type(value) is int:
        return value
    if isinstance(value, list) and depth < DEEPEST:
        return Message.of_json(value, depth + 1)
    return mask_text(value if isinstance(value, str) else json.dumps(value))
