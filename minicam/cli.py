"""What every command of minicam shares: one clear line for bad input, and a --help that reads well."""

import argparse
import functools
import sys
from collections.abc import Callable
from typing import NoReturn

from minicam import MinicamError


def command(main: Callable[[list[str] | None], None]) -> Callable[[list[str] | None], int]:
    """Turn `main(argv)` into a command that returns its exit code.

    0 is success. A `MinicamError` is printed as one line and gives 2, as argparse's own errors do. Ctrl-C gives 130.
    """

    @functools.wraps(main)
    def run(argv: list[str] | None = None) -> int:
        try:
            main(argv)
        except MinicamError as error:
            print(f"minicam: {' '.join(str(error).split())}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print("minicam: interrupted", file=sys.stderr)
            return 130
        except BrokenPipeError:  # the reader went away, as `| head` does
            sys.stderr.close()
            return 0
        return 0

    return run


class Parser(argparse.ArgumentParser):
    """Says what is wrong with an option in one line, as with all other bad input, without a screen of usage."""

    def error(self, message: str) -> NoReturn:
        raise MinicamError(f"{message}; --help shows all options")


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Defaults beside each option, except where there is none to show."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default in (None, False, argparse.SUPPRESS):
            return action.help
        return super()._get_help_string(action)
