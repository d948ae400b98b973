"""The process that delivers one notification: the only import of apprise.

It reads a JSON object from stdin and answers with its exit code. Without `title` and `text` it only
checks that apprise can read the URL.
"""

import json
import sys

from deploy_manager.notifications.outcomes import Outcome
from deploy_manager.trust import trust_the_system

trust_the_system()  # before the import: apprise itself would trust certifi's list

from apprise import Apprise, NotifyFormat  # noqa: E402


def deliver(url: str, title: str = "", text: str = "") -> Outcome:
    """Deliver a text to the target of an apprise URL; without a text, only check the URL."""
    service = Apprise()
    if not service.add(url):
        return Outcome.UNREADABLE
    if not text:
        return Outcome.DONE
    # As plain text it is escaped for services that show HTML.
    is_delivered = service.notify(title=title, body=text, body_format=NotifyFormat.TEXT)
    return Outcome.DONE if is_delivered else Outcome.REFUSED


if __name__ == "__main__":
    sys.exit(deliver(**json.load(sys.stdin)))
