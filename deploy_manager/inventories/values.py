"""Values of a file that anybody may have written: of whatever type, as text or not at all."""

from typing import Any

from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import InventoryError
from deploy_manager.logs import mask_text, plain

LONGEST = 300
"""Characters of one value. No column takes more: longer ones are refused there, cut or not."""


def text_of(value: object) -> str:
    """Return a text or a number as text without controls; blank for anything else."""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return ""
    try:
        text = str(value)[: LONGEST + 1]
    except ValueError:  # an integer of more digits than Python prints
        return ""
    return mask_text(plain(text)).strip()


def mapping_of(value: object) -> dict[str, Any]:
    """Return an object of JSON; an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def texts_of(value: object) -> tuple[str, ...]:
    """Return the texts of a list, each once; a text alone is a list of one."""
    items = value if isinstance(value, list) else [value]
    return tuple(dict.fromkeys(filter(None, map(text_of, items))))


def first_of(*values: object) -> str:
    """Return the first value that is a text and not blank; blank if none is."""
    return next(filter(None, map(text_of, values)), "")


def port_of(value: object) -> int | None:
    """Return a port; None if the value is blank or missing. Raises InventoryError."""
    text = text_of(value)
    if not text and value in (None, ""):
        return None
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65535):
        raise InventoryError(
            _("%(value)r is not a port: it is a number from 1 to 65535."), value=text or str(value)
        )
    return int(text)


def name_of(value: object) -> str:
    """Return a name. Raises InventoryError if there is none."""
    if name := text_of(value):
        return name
    raise InventoryError(_("It has no name."))
