"""PostgreSQL on a server: a role, its database, who may log in from where, and where it listens.

A cluster may be shared by sites and by others: only what is marked as a site's is changed, and no
database and no role is ever dropped.
"""

from __future__ import annotations

import difflib
import hashlib
import hmac
import os
import pwd
import re
import secrets
import tempfile
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from . import reach, units
from .files import Wanted, content_of
from .running import TierError, attempt, call, masked, said_by
from .state import State

ITERATIONS = 4096
"""Of a password's hash, as PostgreSQL's own."""

NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")
EXTENSION = re.compile(r"[a-z_][a-z0-9_-]{0,62}")
HOST = re.compile(r"[A-Za-z0-9.:*-]+")
LOOPBACK = {"127.0.0.1", "::1", "localhost"}
EVERYWHERE = {"*", "0.0.0.0", "::"}  # only recognised
LISTEN_FILE = "deploy_manager.conf"
RESTARTED = "The cluster {name} is restarted: all of its databases are away for a moment."


@dataclass(frozen=True)
class Cluster:
    """One that pg_lsclusters lists."""

    version: str
    name: str
    port: int
    is_running: bool

    @property
    def title(self) -> str:
        return f"{self.version}/{self.name}"

    @property
    def unit(self) -> str:
        return f"postgresql@{self.version}-{self.name}.service"

    @property
    def rules_file(self) -> str:
        return f"/etc/postgresql/{self.title}/pg_hba.conf"

    @property
    def listen_file(self) -> str:
        return f"/etc/postgresql/{self.title}/conf.d/{LISTEN_FILE}"

    def ask(self, text: str, database: str = "postgres") -> str:
        """Return what its superuser is answered. Raises TierError in the server's own words."""
        words = ["psql", "-X", "-qAt", "-v", "ON_ERROR_STOP=1", "-p", str(self.port)]
        done = attempt("runuser", "-u", "postgres", "--", *words, "-d", database, stdin=text)
        if done.returncode:
            raise TierError(f"PostgreSQL {self.title}: {said_by(done)}")
        return done.stdout.strip()


@dataclass(frozen=True)
class Plan:
    """What differs from what is wanted."""

    statements: tuple[tuple[str, str, str], ...]
    """Words for people, SQL, and the database that it is for."""

    contents: dict[str, str]
    """What files are to hold that hold something else."""

    restarts: bool

    @property
    def is_empty(self) -> bool:
        return not (self.statements or self.contents or self.restarts)


def preview(wanted: Wanted, known: State) -> None:
    """Print what would change; change nothing."""
    cluster = _find_cluster(wanted)
    if not cluster.is_running:
        print(f"The cluster {cluster.title} does not run: it would be started.")
        return
    plan = _plan(wanted, cluster, known)
    _print(plan, cluster)
    if plan.is_empty:
        print("Nothing would change.")


def test(wanted: Wanted, known: State) -> None:
    """Check what can be known before. Raises TierError."""
    cluster = _find_cluster(wanted)
    reach.networks(wanted.own["clients"])
    if not cluster.is_running:
        print(f"The cluster {cluster.title} does not run: it is looked at when it does.")
        return
    _plan(wanted, cluster, known)
    _check_extensions(wanted, cluster)
    print("It can be done.")


def apply(wanted: Wanted, known: State) -> None:
    """Bring role, database, rules and addresses about, and log in. Raises TierError."""
    cluster = _find_cluster(wanted)
    units.enable("postgresql.service")
    if not cluster.is_running:
        _restart(cluster)
    plan = _plan(wanted, cluster, known)
    if plan.is_empty and not known.is_owed(wanted.name):
        _prove(wanted)
        print("Nothing has changed.")
        return
    _check_extensions(wanted, cluster)
    _print(plan, cluster)
    own = {"database": wanted.own["database"], "user": wanted.own["user"]}
    facts = {"kind": wanted.kind, "label": wanted.label, "paths": [], "unit": cluster.unit}
    known.put(wanted.name, owed=True, cluster=cluster.title, **facts, **own)
    for _words, statement, database in plan.statements:
        cluster.ask(statement, database)
    with _taken_back_on_error(plan, cluster):
        _write_files(plan.contents)
        _check_rules(wanted, cluster)
        if plan.restarts:
            _restart(cluster)
        else:
            cluster.ask("SELECT pg_reload_conf()")
        _prove(wanted)
    known.put(wanted.name, owed=False)
    print("In effect.")


def remove(name: str, known: State) -> None:
    """Let nobody in any more; what the site has stored stays. Raises TierError."""
    entry = known.tiers[name]
    title = entry["cluster"]
    for each in _clusters():
        if each.title == title:
            contents = {each.rules_file: _with_block(each, entry["label"], [])}
            others = {k: v for k, v in _places(each).items() if k != entry["label"]}
            if each.is_running and os.path.exists(each.listen_file):
                contents[each.listen_file] = _listen_text(others, _base_addresses(each))
            _write_files(contents)
            if each.is_running:
                each.ask("SELECT pg_reload_conf()")
    print(
        f"{name} ({entry['kind']}): its clients' rules are gone. Database {entry['database']}"
        f" and role {entry['user']} stay in {title}; drop them by hand. Where it listens changes"
        " with its next restart."
    )
    known.drop(name)


def _clusters() -> list[Cluster]:
    rows = [line.split() for line in call("pg_lsclusters", "--no-header").splitlines()]
    return [Cluster(row[0], row[1], int(row[2]), row[3].startswith("online")) for row in rows]


def _find_cluster(wanted: Wanted) -> Cluster:
    """Return the newest one, of a version if one is wanted. Raises TierError."""
    version, port = str(wanted.own["version"]), int(wanted.own["port"])
    found = [each for each in _clusters() if version in {"", each.version}]
    if not found:
        raise TierError(
            f"There is no cluster of PostgreSQL {version or 'here'}: make one with"
            " pg_createcluster."
        )
    fitting = [each for each in found if each.port == port]
    chosen = max(fitting or found, key=lambda each: float(each.version))
    if not fitting:
        raise TierError(
            f"The cluster {chosen.title} has port {chosen.port}, not {port}: enter that port as"
            " where the tier listens, or change it in postgresql.conf."
        )
    return chosen


def _plan(wanted: Wanted, cluster: Cluster, known: State) -> Plan:
    """Return what is to be done. Raises TierError for what must not be touched."""
    base, places = _base_addresses(cluster), _places(cluster)
    host = str(wanted.own["host"])
    if not HOST.fullmatch(host):
        raise TierError(f"{host} is not an address to listen on.")
    is_covered = bool(EVERYWHERE & set(base)) or _covers(base, host)
    places = {**places, wanted.label: host}
    lines = [
        f"host {wanted.own['database']} {wanted.own['user']} {network} scram-sha-256"
        for network in reach.networks(wanted.own["clients"])
    ]
    contents = {cluster.rules_file: _with_block(cluster, wanted.label, lines)}
    if not is_covered or os.path.exists(cluster.listen_file):
        contents[cluster.listen_file] = _listen_text(places, base)
    changed = {path: text for path, text in contents.items() if _text_of(path) != text}
    listening = _addresses(cluster.ask("SHOW listen_addresses"))
    restarts = not (EVERYWHERE & set(listening)) and not _covers(listening, host)
    return Plan(tuple(_statements(wanted, cluster, known)), changed, restarts)


def _statements(wanted: Wanted, cluster: Cluster, known: State) -> Iterator[tuple[str, str, str]]:
    """Yield what makes role, database and extensions as wanted. Raises TierError."""
    user, database = str(wanted.own["user"]), str(wanted.own["database"])
    if not (NAME.fullmatch(user) and NAME.fullmatch(database)):
        raise TierError("Names of databases and roles have lower case letters, digits and _ only.")
    password, mark = wanted.secrets[0], f"deploy_manager {re.sub(r'[^a-z0-9_-]', '', wanted.label)}"
    role = cluster.ask(  # names have been checked above
        "SELECT rolsuper, coalesce(rolpassword, ''), shobj_description(oid, 'pg_authid')"
        f" FROM pg_authid WHERE rolname = '{user}'"
    )
    is_super, stored, comment = [*role.split("|", 2), "", ""][:3]
    if is_super == "t":
        raise TierError(f"The role {user} is a superuser: a site must not log in as one.")
    if not role:
        verb, words = "CREATE", f"The role {user} is created."
    else:
        verb, words = "ALTER", f"The role {user} gets the password."
    if not _is_password(stored, password):
        if role and not _is_ours(known, user) and comment != mark:
            raise TierError(
                f"There is a role {user} already, with another password: whoever uses it would be"
                f" locked out. Enter another one as the option user; or, if it is this site's, run"
                f" as postgres: COMMENT ON ROLE {user} IS '{mark}'"
            )
        # As a hash: statements may stand in the server's log.
        statement = f"{verb} ROLE \"{user}\" LOGIN PASSWORD '{_hash(password)}'"
        yield words, f"{statement}; COMMENT ON ROLE \"{user}\" IS '{mark}'", "postgres"
    owner = cluster.ask(
        f"SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = '{database}'"
    )
    if owner and owner != user:
        raise TierError(
            f"The database {database} belongs to {owner}. If {user} may have it, run as postgres:"
            f" ALTER DATABASE {database} OWNER TO {user}"
        )
    if not owner:
        yield f"The database {database} is created.", _creation(cluster, database, user), "postgres"
    yield from _extension_statements(wanted, cluster, database, is_new=not owner)


def _is_ours(known: State, user: str) -> bool:
    """Whether a tier of this site has made the role, under whatever name it was."""
    return any(each.get("user") == user for each in known.tiers.values())


def _creation(cluster: Cluster, database: str, owner: str) -> str:
    text = f'CREATE DATABASE "{database}" OWNER "{owner}"'
    encoding = cluster.ask("SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE oid = 1")
    if encoding != "UTF8":  # of a cluster that was made without a locale
        text += " TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C.UTF-8' LC_CTYPE 'C.UTF-8'"
    return text


def _extension_statements(
    wanted: Wanted, cluster: Cluster, database: str, is_new: bool
) -> Iterator[tuple[str, str, str]]:
    names = _extensions(wanted)
    there = (
        set()
        if is_new or not names
        else set(cluster.ask("SELECT extname FROM pg_extension", database).splitlines())
    )
    for name in names:
        if name not in there:
            yield (
                f"The extension {name} is created.",
                f'CREATE EXTENSION IF NOT EXISTS "{name}"',
                database,
            )


def _extensions(wanted: Wanted) -> list[str]:
    names = [name for name in str(wanted.own["extensions"]).split(",") if name]
    if not all(EXTENSION.fullmatch(name) for name in names):
        raise TierError("Names of extensions have lower case letters, digits, _ and - only.")
    return names


def _check_extensions(wanted: Wanted, cluster: Cluster) -> None:
    if names := _extensions(wanted):
        known = cluster.ask("SELECT name FROM pg_available_extensions").splitlines()
        if missing := sorted(set(names) - set(known)):
            raise TierError(
                f"PostgreSQL {cluster.title} has no extension {', '.join(missing)}: install its"
                " package, like postgresql-15-postgis-3."
            )


def _hash(password: str, salt: bytes | None = None, iterations: int = ITERATIONS) -> str:
    """Return what PostgreSQL stores of a password: see RFC 5803."""
    salt = salt or secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    words = [b64encode(each).decode() for each in (salt, stored, server)]
    return f"SCRAM-SHA-256${iterations}:{words[0]}${words[1]}:{words[2]}"


def _is_password(stored: str, password: str) -> bool:
    found = re.fullmatch(r"SCRAM-SHA-256\$(\d+):([A-Za-z0-9+/=]+)\$.*", stored)
    if found is None:
        return False
    return hmac.compare_digest(_hash(password, b64decode(found[2]), int(found[1])), stored)


def _with_block(cluster: Cluster, label: str, lines: list[str]) -> str:
    """Return the cluster's rules with these lines of a site before the general ones."""
    begin, end = f"# BEGIN deploy_manager {label}\n", f"# END deploy_manager {label}\n"
    text = re.sub(
        rf"^{re.escape(begin)}.*?^{re.escape(end)}",
        "",
        _text_of(cluster.rules_file),
        flags=re.M | re.S,
    )
    if not lines:
        return text
    block = begin + "".join(f"{line}\n" for line in lines) + end
    # The first rule that fits is the one that counts.
    first = re.search(r"^(?:# BEGIN deploy_manager |[^#\s])", text, flags=re.M)
    at = first.start() if first else len(text)
    return text[:at] + block + text[at:]


def _base_addresses(cluster: Cluster) -> list[str]:
    """Return where it listens without us. Raises TierError if our file would have no effect."""
    rows = cluster.ask(
        "SELECT sourcefile, setting FROM pg_file_settings WHERE name = 'listen_addresses'"
        " ORDER BY seqno"
    ).splitlines()
    base = "localhost"  # PostgreSQL's default
    for row in rows:
        path, _bar, value = row.partition("|")
        if path.endswith("/postgresql.auto.conf"):
            raise TierError(
                f"{path} sets listen_addresses, which counts before all else: run as postgres"
                " ALTER SYSTEM RESET listen_addresses"
            )
        base = base if path == cluster.listen_file else value
    return _addresses(base)


def _addresses(value: str) -> list[str]:
    return [each.strip() for each in value.split(",") if each.strip()]


def _covers(listening: list[str], host: str) -> bool:
    return host in listening or (host in LOOPBACK and "localhost" in listening)


def _places(cluster: Cluster) -> dict[str, str]:
    """Return where each site wants it to listen, by label, as our file says."""
    return dict(re.findall(r"^# (\S+) at (\S+)$", _text_of(cluster.listen_file), flags=re.M))


def _listen_text(places: dict[str, str], base: list[str]) -> str:
    addresses = list(base)
    for host in places.values():
        if not _covers(addresses, host):
            addresses.append(host)
    lines = ["# Written by deploy_manager, which replaces what is changed here."]
    lines += [f"# {label} at {host}" for label, host in sorted(places.items())]
    return "\n".join([*lines, f"listen_addresses = '{', '.join(addresses)}'", ""])


def _text_of(path: str) -> str:
    return (content_of(path) or b"").decode(errors="surrogateescape")


def _write_files(contents: dict[str, str]) -> None:
    owner = pwd.getpwnam("postgres")
    for path, text in contents.items():
        beside = f"{path}.new"  # in conf.d only files that end with .conf are read
        with open(beside, "w", errors="surrogateescape") as file:
            os.fchown(file.fileno(), owner.pw_uid, owner.pw_gid)
            os.fchmod(file.fileno(), 0o640)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)


def _check_rules(wanted: Wanted, cluster: Cluster) -> None:
    """Have the server read the rules before they count. Raises TierError with its words."""
    errors = cluster.ask(
        "SELECT 'line ' || line_number || ': ' || error FROM pg_hba_file_rules"
        " WHERE error IS NOT NULL"
    )
    if errors:
        raise TierError(f"{cluster.rules_file}: {errors}")


@contextmanager
def _taken_back_on_error(plan: Plan, cluster: Cluster) -> Iterator[None]:
    before = {path: _text_of(path) for path in plan.contents}
    try:
        yield
    except TierError as error:
        _write_files(before)
        if plan.restarts or not _find_running(cluster):
            _restart(cluster)
        else:
            cluster.ask("SELECT pg_reload_conf()")
        raise TierError(
            f"{error}\nTaken back: its rules and addresses are as before. A role or a database that"
            " was created stays."
        ) from None


def _find_running(cluster: Cluster) -> bool:
    return any(each.title == cluster.title and each.is_running for each in _clusters())


def _restart(cluster: Cluster) -> None:
    attempt("systemctl", "reset-failed", cluster.unit)
    done = attempt("systemctl", "restart", cluster.unit)
    if done.returncode or not _find_running(cluster):
        raise TierError(
            f"The cluster {cluster.title} does not start.\n{units.log_of(cluster.unit)}"
        )


def _prove(wanted: Wanted) -> None:
    """Log in as the site does. Raises TierError in the server's own words."""
    host = str(wanted.own["host"])
    facts = {
        "host": "127.0.0.1" if host in EVERYWHERE else host,
        "port": str(wanted.own["port"]),
        "dbname": wanted.own["database"],
        "user": wanted.own["user"],
        "connect_timeout": "5",
    }
    with tempfile.NamedTemporaryFile("w", dir="/run", prefix="deploy_manager-") as file:
        file.write(f"*:*:*:*:{wanted.secrets[0]}\n")
        file.flush()
        words = " ".join(
            f"{name}={value}" for name, value in {**facts, "passfile": file.name}.items()
        )
        done = attempt("psql", "-X", "-w", "-qAt", "-d", words, "-c", "SELECT current_user")
    if done.returncode or done.stdout.strip() != wanted.own["user"]:
        raise TierError(masked(f"It can't be logged in: {said_by(done)}", wanted.secrets))


def _print(plan: Plan, cluster: Cluster) -> None:
    for words, _statement, _database in plan.statements:
        print(words)
    for path, text in plan.contents.items():
        lines = difflib.unified_diff(
            _text_of(path).splitlines(), text.splitlines(), path, "wanted", lineterm=""
        )
        print("\n".join(lines), flush=True)
    if plan.restarts:
        print(RESTARTED.format(name=cluster.title), flush=True)
