"""The small world of the tests: real parts in `tests/parts`, people and servers here."""

pytest_plugins = [
    "tests.inventory",
    "tests.recipe_site",
    "tests.parts.browser",
    "tests.parts.own_project",
    "tests.parts.postgres",
    "tests.parts.redis",
    "tests.parts.repository",
    "tests.parts.sshd",
    "tests.parts.served",
    "tests.parts.worker",
]
