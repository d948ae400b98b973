"""The command `deploy-manager`: its arguments, and how it ends."""

import sys
from argparse import ArgumentParser
from collections.abc import Sequence

import deploy_manager
from deploy_manager.client.commands import COMMANDS
from deploy_manager.client.exits import FAILED, ClientError, Refused
from deploy_manager.client.terminal import make_console, make_view
from deploy_manager.client.texts import clean
from deploy_manager.client.views import View


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with these arguments, or those of the process; return its exit code."""
    given = make_parser().parse_args(arguments)
    view = make_view(make_console(sys.stdout, no_color=given.no_color), as_json=given.json)
    try:
        code: int = given.run(given, view)
    except ClientError as error:
        return _fail(error, view)
    except KeyboardInterrupt:
        return _fail(Refused("Stopped before anything was requested."), view)
    except BrokenPipeError:
        return FAILED
    except (KeyError, TypeError) as error:
        # Only answers are read by names that they may lack.
        told = f"The manager's answer can't be understood ({error}): is one of the two older?"
        return _fail(ClientError(told), view)
    return code


def _fail(error: ClientError, view: View) -> int:
    """Tell people why on stderr, and programs on stdout; return the exit code."""
    print(clean(error), file=sys.stderr, flush=True)
    reasons = {"reason": list(error.reasons)} if error.reasons else {}
    view.write("summary", state=error.state, message=str(error), **reasons)
    return error.exit_code


def make_parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="deploy-manager",
        description="Ask your manager of deployments for what its admin does, from anywhere.",
        epilog="Exit code 0: it succeeded. 1: it did not, or not everywhere. 2: wrong usage, or"
        " refused: nothing was requested.",
    )
    parser.add_argument("--version", action="version", version=deploy_manager.__version__)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        added = commands.add_parser(command.name, help=command.help, description=command.help)
        command.add_arguments(added)
        _add_usual(added)
        added.set_defaults(run=command.run)
    return parser


def _add_usual(parser: ArgumentParser) -> None:
    """Add what every command takes."""
    usual = parser.add_argument_group("every command")
    usual.add_argument("--json", action="store_true", help="print JSON lines, the last a summary")
    usual.add_argument("--no-color", action="store_true", help="print without colours")
    usual.add_argument(
        "--manager", default="", metavar="NAME", help="one of several that you logged in to"
    )
    usual.add_argument(
        "--ca-file",
        default="",
        metavar="FILE",
        help="trust only what this certificate has signed, instead of the system's store",
    )
    usual.add_argument(
        "--insecure", action="store_true", help="send the token to another machine unencrypted"
    )


if __name__ == "__main__":
    sys.exit(main())
