"""A process that delivers one notice: the only import of apprise.

It reads an order, a JSON object, from its input and answers with its exit code. An order without
`title` and `text` asks only whether apprise can read the URL.
"""

import json
import sys

from deploy_manager.notifications.outcomes import Outcome
from deploy_manager.trust import trust_the_system

trust_the_system()  # before it is imported: apprise's own would be certifi's list

from apprise import Apprise, NotifyFormat  # noqa: E402


def deliver(url: str, title: str = "", text: str = "") -> Outcome:
    """Deliver a text, where there is one, to what an apprise URL means."""
    service = Apprise()
    if not service.add(url):
        return Outcome.UNREADABLE
    if not text:
        return Outcome.DONE
    # Said to be plain text it is escaped where a service shows HTML.
    is_delivered = service.notify(title=title, body=text, body_format=NotifyFormat.TEXT)
    return Outcome.DONE if is_delivered else Outcome.REFUSED


if __name__ == "__main__":
    sys.exit(deliver(**json.load(sys.stdin)))
