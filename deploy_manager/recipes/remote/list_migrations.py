"""Print migrations of a database as JSON. Runs in a release's own environment and folder.

`known`: app and name of each migration that the release's code has, or that one of those replaces.
`between <alias>`: migrations applied to a database that are not among the known ones on stdin;
newest first.
"""

import json
import os
import re
import sys

# As for manage.py; Python itself puts only this script's own folder there.
sys.path.insert(0, os.getcwd())


def main(what, alias=""):
    if settings := settings_module():
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", settings)
    import django

    django.setup()
    if what == "known":
        answer = known()
    else:
        answer = between({tuple(key) for key in json.load(sys.stdin)}, alias)
    # The project's code may have printed a line without an end: the answer has one of its own.
    print()
    print(json.dumps(answer))


def settings_module():
    """The settings that manage.py names, unless they are set: read as text, not imported."""
    if os.environ.get("DJANGO_SETTINGS_MODULE"):
        return ""
    with open("manage.py", encoding="utf-8") as file:
        found = re.search(r"DJANGO_SETTINGS_MODULE[\"']\s*,\s*[\"']([\w.]+)[\"']", file.read())
    return found.group(1) if found else ""


def known():
    from django.db.migrations.loader import MigrationLoader

    # Without a connection: what this code has, whatever was applied.
    migrations = MigrationLoader(None, ignore_no_migrations=True).disk_migrations
    keys = set(migrations)
    for migration in migrations.values():
        keys.update(map(tuple, migration.replaces))
    return sorted(keys)


def between(known, alias):
    from django.db import connections
    from django.db.migrations.executor import MigrationExecutor

    if alias not in connections:
        return []  # this release does not have it yet, or no longer
    executor = MigrationExecutor(connections[alias])
    loader = executor.loader
    unknown = [
        key
        for key in in_order(loader.graph)
        if key in loader.applied_migrations and not is_known(loader.graph.nodes[key], key, known)
    ]
    return [facts(executor, key, known, set(unknown)) for key in reversed(unknown)]


def in_order(graph):
    """All migrations, each after those that it depends on."""
    seen = {}
    for leaf in sorted(graph.leaf_nodes()):
        seen.update(dict.fromkeys(graph.forwards_plan(leaf)))
    return list(seen)


def is_known(migration, key, known):
    """A squashed migration is known if all that it replaces are: the tables are the same."""
    replaced = set(map(tuple, migration.replaces))
    return key in known or (bool(replaced) and replaced <= known)


def facts(executor, key, known, unknown):
    graph = executor.loader.graph
    app, name = key
    # A merge has several: going back to any one of them undoes the merge alone.
    parents = sorted(each.key[1] for each in graph.node_map[key].parents if each.key[0] == app)
    back_to = parents[0] if parents else None
    undone = {(each.app_label, each.name) for each, _ in executor.migration_plan([(app, back_to)])}
    is_alone = undone <= unknown and known.isdisjoint(map(tuple, graph.nodes[key].replaces))
    return {
        "app": app,
        "name": name,
        "is_reversible": is_alone and all(map(is_reversible, graph.nodes[key].operations)),
        "back_to": back_to or "zero",
    }


def is_reversible(operation):
    """Look inside SeparateDatabaseAndState, which is reversible whatever it contains."""
    inner = getattr(operation, "database_operations", ())
    return operation.reversible and all(map(is_reversible, inner))


if __name__ == "__main__":
    main(*sys.argv[1:])
