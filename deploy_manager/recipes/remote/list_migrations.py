"""Print a release's migrations as JSON. Runs in the release's own environment and folder.

`known`: app and name of each migration that its code has. `applied`: those of the database that its
code knows, the last applied first: app, name, whether it can be reversed, and the one before it.
"""

import json
import os
import re
import sys

sys.path.insert(0, os.getcwd())


def main(what):
    settings = settings_module()
    if settings:
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", settings)
    import django
    from django.db import connection
    from django.db.migrations.loader import MigrationLoader

    django.setup()
    loader = MigrationLoader(connection if what == "applied" else None, ignore_no_migrations=True)
    answer = (
        applied(loader)
        if what == "applied"
        else [list(key) for key in sorted(loader.disk_migrations)]
    )
    print()
    print(json.dumps(answer))


def settings_module():
    """What manage.py sets, where nothing else does: read from its text, as it is not imported."""
    if os.environ.get("DJANGO_SETTINGS_MODULE"):
        return ""
    with open("manage.py", encoding="utf-8") as file:
        found = re.search(r"DJANGO_SETTINGS_MODULE[\"']\s*,\s*[\"']([\w.]+)[\"']", file.read())
    return found.group(1) if found else ""


def applied(loader):
    keys = [key for key in in_order(loader) if key in loader.applied_migrations]
    return [facts(loader, key) for key in reversed(keys)]


def in_order(loader):
    """Every migration after those that it depends on."""
    seen = []
    for leaf in sorted(loader.graph.leaf_nodes()):
        seen.extend(key for key in loader.graph.forwards_plan(leaf) if key not in seen)
    return seen


def facts(loader, key):
    migration = loader.graph.nodes[key]
    reversible = all(operation.reversible for operation in migration.operations)
    parents = [
        parent.key for parent in loader.graph.node_map[key].parents if parent.key[0] == key[0]
    ]
    return [key[0], key[1], reversible, parents[0][1] if parents else "zero"]


if __name__ == "__main__":
    main(sys.argv[1])
