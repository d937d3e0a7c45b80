"""What commands share: exit codes, one line on stderr, help that reads well; and choosing where to compute."""

import importlib
import os
import re
import subprocess
import sys
import threading
import time
import warnings

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from minicam import MinicamError, backend
from minicam.cli import HelpFormatter, Parser, command


def run(main, argv=None):
    return command(main)(argv)


def raising(error):
    def main(argv):
        raise error

    return main


def test_success_is_0_and_the_arguments_are_handed_on(capsys):
    seen = []
    assert run(seen.append, ["--x"]) == 0
    assert seen == [["--x"]]
    assert capsys.readouterr() == ("", "")


def test_a_command_may_choose_its_exit_code():
    assert run(lambda argv: 1) == 1


def test_bad_input_is_2_and_one_line(capsys):
    assert run(raising(MinicamError("the file\n  x is\tempty; copy it again"))) == 2
    assert capsys.readouterr() == ("", "minicam: the file x is empty; copy it again\n")


def test_a_path_that_the_system_refuses_is_2_and_one_line(capsys, tmp_path):
    name = tmp_path / ("n" * 300)
    assert run(lambda argv: name.exists()) == 2
    assert capsys.readouterr() == ("", f"minicam: {name}: File name too long; check the path\n")
    assert run(raising(OSError(5, "Input/output error"))) == 2
    assert capsys.readouterr() == ("", "minicam: Input/output error\n")


def test_ctrl_c_is_130_and_one_line(capsys):
    assert run(raising(KeyboardInterrupt)) == 130
    assert capsys.readouterr() == ("", "minicam: interrupted\n")


def test_a_mistake_of_our_own_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        run(raising(ZeroDivisionError()))


def test_the_command_keeps_its_name_and_docstring():
    def main(argv):
        """What it does."""

    assert (command(main).__name__, command(main).__doc__) == ("main", "What it does.")


@pytest.mark.parametrize("lines", [1, 10000])
def test_a_reader_that_goes_away_is_no_success_and_no_complaint(lines):
    """As `| head` does: the pipe is closed before anything is printed. One line is in the buffer till the end."""
    program = (
        "import sys; sys.stdin.readline()\n"
        "from minicam.cli import command\n"
        "def main(argv):\n"
        f"    for _ in range({lines}): print('x' * 100)\n"
        "sys.exit(command(main)([]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=os.path.dirname(os.path.dirname(__file__)),
    )
    process.stdout.close()
    _, error = process.communicate(b"go\n", timeout=60)
    assert error == b""
    assert process.returncode == 1


def parser():
    p = Parser("program", formatter_class=HelpFormatter)
    p.add_argument("--size", type=int, default=64, help="side in pixels")
    p.add_argument("--out", help="folder")
    p.add_argument("--quiet", action="store_true", help="say less")
    return p


def test_a_wrong_option_is_one_line():
    with pytest.raises(MinicamError) as caught:
        parser().parse_args(["--size", "x"])
    assert str(caught.value) == "argument --size: invalid int value: 'x'; --help shows all options"


def test_help_shows_defaults_where_there_are_any():
    text = " ".join(parser().format_help().split())
    assert "side in pixels (default: 64)" in text
    assert "None" not in text
    assert "False" not in text


def test_help_wraps_paragraphs_and_keeps_indented_blocks(monkeypatch):
    monkeypatch.setenv("COLUMNS", "42")
    text = (
        "A paragraph whose lines are\nbroken where they were\nwritten, about --a-long-option.\n\n"
        "    python  -m minicam.train --a-line-that-is-longer-than-the-terminal\n    and  another\n\n"
        "The end.\n"
    )
    p = Parser("program", description=text, formatter_class=HelpFormatter)
    p.add_argument("--out", help="folder or_a_path/that_is/longer_than/the_column (a new one; see --a-long-option)")
    usage, *blocks, options = p.format_help().split("\n\n")
    assert usage == "usage: program [-h] [--out OUT]"
    assert blocks == [
        "A paragraph whose lines are broken where\nthey were written, about\n--a-long-option.",
        "    python  -m minicam.train --a-line-that-is-longer-than-the-terminal\n    and  another",
        "The end.",
    ]
    assert options.split("\n  --out OUT")[1].split("\n") == [
        "   folder",
        "              or_a_path/that_is/longer_than/the_column",
        "              (a new one; see",
        "              --a-long-option)",
        "",
    ]


COMMANDS = ["train", "evaluate", "explain", "controls", "weights.__main__", "emulator.__main__", "bench.__main__"]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_every_command_fits_a_terminal_of_80_columns(name, monkeypatch):
    """But for names that are longer than the column, and two columns of a list in a docstring."""
    monkeypatch.setenv("COLUMNS", "80")
    module = importlib.import_module(f"minicam.{name}")
    p = module.parser()
    assert isinstance(p, Parser)
    assert p.formatter_class is HelpFormatter
    lines = p.format_help().splitlines()
    assert [line for line in lines if len(line) > 82 and len(line.split()) > 1] == []
    for block in re.findall(r"(?<=\n\n)( +.*?)(?=\n\n|\n$)", module.__doc__, re.DOTALL):
        assert block in "\n".join(lines)


def test_each_keeps_the_order_whoever_is_done_first():
    first, done = threading.Event(), []

    def slow_at_first(i):
        if i == 0 and backend.threads() > 1:
            first.wait(10)
        done.append(i)
        first.set()
        return 10 * i

    assert backend.each(slow_at_first, range(5)) == [0, 10, 20, 30, 40]
    assert sorted(done) == [0, 1, 2, 3, 4]
    assert backend.each(slow_at_first, []) == []


@pytest.fixture(params=[1, 2, 5])
def threads(request):
    backend.set_threads(request.param)
    yield request.param
    backend.set_threads(None)


def test_an_error_within_each_is_the_callers_and_ends_the_work(threads):
    done = []

    def divide(i):
        done.append(i)
        time.sleep(0.01 * i)
        return 1 / i

    with pytest.raises(ZeroDivisionError):
        backend.each(divide, [0] + [1] * 50)
    assert len(done) <= 2 * threads


@pytest.mark.parametrize("first", [0, 1])
def test_each_returns_when_every_helper_has_ended_even_after_an_error(first):
    """Of two helpers that fail one does so at once; whichever it is, the other one's work is over, too."""
    together, ended = threading.Barrier(3), []

    def work(_):
        together.wait(10)
        name = threading.current_thread().name
        if name.startswith("minicam_"):
            if name != f"minicam_{first}":
                time.sleep(0.3)
            ended.append(name)
            raise ZeroDivisionError

    backend.set_threads(3)
    try:
        with pytest.raises(ZeroDivisionError):
            backend.each(work, range(3))
        assert sorted(ended) == ["minicam_0", "minicam_1"]
    finally:
        backend.set_threads(None)


def test_each_works_on_as_many_threads_as_are_set_the_callers_among_them(threads):
    together = threading.Barrier(threads)

    def thread(_):
        together.wait(10)  # nobody comes here twice before all have come
        return threading.current_thread()

    found = set(backend.each(thread, range(threads)))
    assert len(found) == threads
    assert threading.current_thread() in found


def test_each_within_each(threads):
    inner = backend.each(lambda i: backend.each(lambda j: 10 * i + j, range(4)), range(3))
    assert inner == [[0, 1, 2, 3], [10, 11, 12, 13], [20, 21, 22, 23]]


def test_within_each_blas_keeps_to_one_thread_and_gets_them_back():
    """NumPy's, that is: SciPy brings its own, which no operation uses."""

    def threads_of_blas(_=None):
        libraries = [info for info in threadpool_info() if info["user_api"] == "blas"]
        return [info["num_threads"] for info in libraries if "numpy" in info["filepath"] or len(libraries) == 1]

    with threadpool_limits(2, user_api="blas"):
        before = threads_of_blas()
        assert set(before) == {2}
        for found in backend.each(threads_of_blas, range(4)):
            assert set(found) == {1}
        assert threads_of_blas() == before


def test_within_each_numpy_warns_as_the_caller_wishes():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with np.errstate(over="ignore"):
            assert backend.each(lambda x: np.float32(x) * np.float32(1e38), [1e38] * 3) == [np.inf] * 3
        with np.errstate(over="raise"), pytest.raises(FloatingPointError):
            backend.each(lambda x: np.float32(x) * np.float32(1e38), [1e38] * 3)
