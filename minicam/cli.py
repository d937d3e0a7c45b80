"""What every command of minicam shares: one clear line for bad input, and a --help that reads well."""

import argparse
import functools
import os
import re
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from minicam import MinicamError


def command(main: Callable[[list[str] | None], int | None]) -> Callable[[list[str] | None], int]:
    """Turn `main(argv)` into a command that returns its exit code.

    0 is success, which is what None means. A `MinicamError` is printed as one line and gives 2, as argparse's own
    errors do, and so does an error of the operating system. Ctrl-C gives 130, and 1 a reader that goes away, as
    `| head` does.
    """

    @functools.wraps(main)
    def run(argv: list[str] | None = None) -> int:
        try:
            code = main(argv) or 0
            sys.stdout.flush()  # here, where a reader that has gone away is noticed
            return code
        except MinicamError as error:
            print(f"minicam: {' '.join(str(error).split())}", file=sys.stderr)
            return 2
        except MemoryError as error:
            why = " ".join(str(error).split()) or "no more is to be had"
            print(f"minicam: there is too little memory ({why}); make the batch or the images smaller", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print("minicam: interrupted", file=sys.stderr)
            return 130
        except BrokenPipeError:
            # What is left in the buffer goes nowhere, or Python would complain of it when it ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except OSError as error:  # of a path that nobody expected to fail: a name too long, a folder that is forbidden
            why = error.strerror or str(error)
            said = why if error.filename is None else f"{error.filename}: {why}; check the path"
            print(f"minicam: {' '.join(said.split())}", file=sys.stderr)
            return 2

    return run


def named_path(text: str) -> Path:
    """A path on a command line; argparse.ArgumentTypeError for an empty one, which would mean the current folder."""
    if not text:
        raise argparse.ArgumentTypeError("it is empty, as where a variable of the shell is not set; name a place")
    return Path(text)


class Parser(argparse.ArgumentParser):
    """Says what is wrong with an option in one line, as with all other bad input, without a screen of usage."""

    def error(self, message: str) -> NoReturn:
        raise MinicamError(f"{message}; --help shows all options")


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Module docstrings as they were written, and defaults beside each option where there are any to show."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        """Wrap paragraphs to the terminal; keep the lines of indented blocks, which are commands and lists."""
        blocks = re.split(r"\n\s*\n", text.strip("\n"))
        kept = [block if block.startswith(" ") else "\n".join(self._split_lines(block, width)) for block in blocks]
        return textwrap.indent("\n\n".join(kept), indent)

    def _split_lines(self, text: str, width: int) -> list[str]:
        """Wrap the text of an option between words only: the name of a file or an option stays whole."""
        return textwrap.wrap(" ".join(text.split()), width, break_long_words=False, break_on_hyphens=False)

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default in (None, False, argparse.SUPPRESS):
            return action.help
        return super()._get_help_string(action)
