"""A host over SSH: commands on channels of one connection, files by SFTP."""

import contextlib
import secrets
import shlex
import stat
from collections.abc import Iterator, Sequence
from threading import Event, Timer

import paramiko
from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import ConnectionLost, HostUnreachable
from deploy_manager.hosts import shell
from deploy_manager.hosts.address import Sink
from deploy_manager.hosts.base import ShellHost
from deploy_manager.hosts.channel import SshRunning, hang_up, hung_up, no_commands
from deploy_manager.hosts.link import CHANNEL_TIMEOUT, Link
from deploy_manager.hosts.pipes import SshPipe
from deploy_manager.hosts.running import no_sink

STOP_TIMEOUT = 15.0
"""Seconds; the script that stops a group takes up to 6 (shell.STOP_SCRIPT)."""

MARKER = "deploy-manager"


class SshHost(ShellHost):
    """A server, over one connection for the whole deployment."""

    def __init__(self, name: str, link: Link, sink: Sink, cancelled: Event) -> None:
        super().__init__(name, sink, cancelled)
        self._link = link
        self._sftp: paramiko.SFTPClient | None = None
        self._has_sftp = True

    def close(self) -> None:
        self._link.close()

    def _start(self, script: str, stdin: bytes) -> SshRunning:
        # Random, so that nothing printed before the command can pass for it.
        marker = f"{MARKER}-{secrets.token_hex(8)}"
        channel = self._open_channel()
        running = SshRunning(channel, marker, stdin, self.name, self._stop_group)
        self._execute(channel, shell.remote_command(script, marker))
        return running

    def open_pipe(self, line: str) -> SshPipe:
        """Start a line of sh and return a pipe to it. Raises HostUnreachable, ConnectionLost."""
        channel = self._open_channel()
        try:
            self._execute(channel, shell.login_line(line))
        except ConnectionLost:
            # The server refused the request: only a lost connection leaves anything unknown.
            if self._link.transport.is_active():
                raise no_commands(self.name, b"it refuses") from None
            raise
        return SshPipe(channel, self.name)

    def _open_channel(self) -> paramiko.Channel:
        try:
            return self._link.transport.open_session(timeout=CHANNEL_TIMEOUT)
        except paramiko.ChannelException as error:
            raise no_commands(self.name, str(error.text).encode()) from error
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise HostUnreachable(
                _(
                    "The connection to %(name)s was lost: the command was not started. Try "
                    "again. (%(error)s)"
                ),
                name=self.name,
                error=error,
            ) from error

    def _execute(self, channel: paramiko.Channel, command: str) -> None:
        """Have the server run a command line. Raises ConnectionLost unless it confirms."""
        try:
            with _closed_if_overdue(channel):
                # Its words are quoted where it is made: shell.remote_command, shlex.join.
                channel.exec_command(command)  # nosec B601
        except (paramiko.SSHException, EOFError, OSError) as error:
            hang_up(channel)
            raise ConnectionLost(
                _(
                    "%(name)s did not confirm that it started a command: whether it runs is "
                    "unknown. Check the server."
                ),
                name=self.name,
            ) from error

    def _stop_group(self, group: int) -> bool:
        return self._run_apart(shell.stop_command(group))

    def _run_apart(self, words: Sequence[str]) -> bool:
        """Run a command that a cancel must not prevent; return whether it was seen to succeed."""
        try:
            with hung_up(self._open_channel()) as channel:
                self._execute(channel, shell.login_line(shlex.join(words)))
                channel.status_event.wait(STOP_TIMEOUT)
                return channel.exit_status == 0
        except HostUnreachable:
            return False

    def _write(self, blocks: Iterator[bytes], path: str, beside: str, mode: int) -> None:
        sftp = self._open_sftp()
        if sftp is None:
            self._write_by_shell(blocks, path, beside, mode)
            return
        try:
            self._write_by_sftp(sftp, blocks, path, beside, mode)
        except (paramiko.SSHException, EOFError) as error:
            raise ConnectionLost(
                _(
                    "The connection to %(name)s was lost while %(path)s was being written: "
                    "whether it is there is unknown. Check the server."
                ),
                name=self.name,
                path=path,
            ) from error

    def _open_sftp(self) -> paramiko.SFTPClient | None:
        """Return the SFTP client; None if the server has no SFTP."""
        if self._sftp is None and self._has_sftp:
            channel = self._open_channel()
            # paramiko's SFTP client has no time limit of its own, but reads by this channel.
            channel.settimeout(CHANNEL_TIMEOUT)
            try:
                with _closed_if_overdue(channel):
                    channel.invoke_subsystem("sftp")
                self._sftp = paramiko.SFTPClient(channel)
            except (paramiko.SSHException, paramiko.SFTPError, EOFError, OSError):
                # sftp-server may be missing, or the account's shell profile prints something that
                # comes before its first packet (see the OpenSSH FAQ, 2.9).
                hang_up(channel)
                self._has_sftp = False
        return self._sftp

    def _write_by_sftp(
        self,
        sftp: paramiko.SFTPClient,
        blocks: Iterator[bytes],
        path: str,
        beside: str,
        mode: int,
    ) -> None:
        sent = 0
        try:
            with sftp.open(beside, "wx") as file:
                file.chmod(stat.S_IMODE(mode))
                # Without this each block waits for a round trip. Errors then surface late, if at
                # all: hence the size check.
                file.set_pipelined(True)
                for block in blocks:
                    file.write(block)
                    sent += len(block)
            if sftp.stat(beside).st_size != sent:
                raise OSError("not all of it was written; check the free disk space")
            # SFTP's own rename fails if the target exists.
            sftp.posix_rename(beside, path)
        except BaseException:
            with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
                sftp.remove(beside)
            raise

    def _write_by_shell(self, blocks: Iterator[bytes], path: str, beside: str, mode: int) -> None:
        """Write with commands that every server has; slower, since each block takes a command."""
        try:
            self._write_step('umask 077; : >"$1"', beside)
            for block in blocks:
                self._write_step('cat >>"$1"', beside, stdin=block)
            # mv would put it into a folder of that name, and succeed.
            self._write_step(
                'chmod "$2" "$1" && [ ! -d "$3" ] && mv -f "$1" "$3"', beside, f"{mode:o}", path
            )
        except BaseException:
            # Also after a cancel, which _see_through would not let pass.
            self._run_apart(["rm", "-f", beside])
            raise

    def _write_step(self, line: str, *words: str, stdin: bytes = b"") -> None:
        script = shlex.join(["sh", "-c", line, "sh", *words])
        result = self._see_through(script, stdin, "Writing a file", CHANNEL_TIMEOUT, no_sink)
        if not result.ok:
            raise OSError(result.stderr.strip() or "the server gave no reason")


@contextlib.contextmanager
def _closed_if_overdue(channel: paramiko.Channel) -> Iterator[None]:
    """Close a channel if the server does not answer a request: paramiko would wait forever."""
    overdue = Timer(CHANNEL_TIMEOUT, channel.close)
    overdue.daemon = True
    overdue.start()
    try:
        yield
    finally:
        overdue.cancel()
