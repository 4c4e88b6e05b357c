"""The command line: `leanline --help`. Each command is a module; PyTorch loads inside commands."""

import sys


def main() -> None:
    """Run the command line on the arguments of this process, and exit."""
    try:
        from leanline.cli.app import app

        app(prog_name="leanline")
    except KeyboardInterrupt:  # before a command began or after it ended
        sys.exit(130)
