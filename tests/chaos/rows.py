"""The function of each fault. It returns what was seen; what is not as demanded goes to the world.

Apart from the table, for it can be imported only where Django was told its database.
"""

from collections.abc import Callable

from tests.chaos import dying, links, load, many, messages, output, servers, spoilt
from tests.chaos.world import World

ROWS: dict[str, Callable[[World, int], str]] = {
    "1": dying.worker_killed,
    "2-child": dying.child_killed,
    "2-term": dying.worker_leaves,
    "3": messages.messages_repeated,
    "4": dying.holder_stopped,
    "5": messages.redis_killed,
    "6": messages.database_away,
    **links.LINKS,
    "8": links.server_silent,
    "9": output.output_poured,
    "11": spoilt.servers_spoilt,
    "12": servers.current_read,
    "13": servers.managers_raced,
    "15": dying.cancelled,
    "16": load.visited,
    "17": many.one_of_four_killed,
    "18": many.soak,
}
