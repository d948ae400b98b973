"""Units of systemd: started, reloaded, and enabled for the next boot."""

from __future__ import annotations

from .running import TierError, attempt, call


def is_running(unit: str) -> bool:
    return attempt("systemctl", "is-active", "--quiet", unit).returncode == 0


def bring(unit: str, restarts: bool = False, reload: tuple[str, ...] = ()) -> None:
    """Have a unit read its configuration, and start with the machine. Raises TierError."""
    call("systemctl", "daemon-reload")
    enable(unit)
    # A unit that has failed too often is not started again before it is told to forget that.
    attempt("systemctl", "reset-failed", unit)
    if reload and not restarts and is_running(unit):
        call(*reload)
        return
    verb = "restart" if restarts or not is_running(unit) else "reload-or-restart"
    done = attempt("systemctl", verb, unit)
    if done.returncode or not is_running(unit):
        raise TierError(f"systemctl {verb} {unit} failed.\n{log_of(unit)}")


def enable(unit: str) -> None:
    """Have it start with the machine. Raises TierError."""
    if attempt("systemctl", "is-enabled", "--quiet", unit).returncode:
        call("systemctl", "enable", "--quiet", unit)


def stop(unit: str) -> None:
    attempt("systemctl", "stop", unit)


def end(unit: str) -> None:
    """Stop a unit that is a site's alone, now and at the next boot."""
    attempt("systemctl", "disable", "--quiet", unit)
    attempt("systemctl", "stop", unit)
    attempt("systemctl", "reset-failed", unit)


def log_of(unit: str) -> str:
    """Return the end of its log."""
    return attempt("journalctl", "-u", unit, "-n", "15", "--no-pager", "-o", "cat").stdout.strip()
