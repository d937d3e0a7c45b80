"""Every fault that the emulator finds, by the words in which it says so: kernel, block, thread, array and line."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from emulated import array, empty, kernels, run

from minicam import emulator, source
from minicam.emulator import build

FILE = Path(__file__).with_name("faulty_kernels.cu")
LINES = {
    name: f"{FILE.name}:{number}"
    for number, line in enumerate(FILE.read_text(encoding="utf-8").split("\n"), 1)
    for name in re.findall(r"// @(\w+)", line)
}

FIRST = "block (0,0,0) thread (0,0,0): "
# kernel -> how to launch it (as `message` in test_emulator_checks.py takes it), what is said of it
FAULTS = {
    "read_too_early": (
        {"order": "reverse"},
        "block (0,0,0) thread (63,0,0): missing barrier: read at @early_read of shared tile[0][31], which nothing has "
        "been written to yet in this block",
    ),
    "overwritten_too_early": (
        {},
        "block (0,0,0) thread (32,0,0): race on shared tile[31]: read at @war_read, written by thread (31,0,0) at "
        "@war_write, no barrier between",
    ),
    "two_writers": (
        {},
        "block (0,0,0) thread (1,0,0): race on y[0,0]: write at @two, written by thread (0,0,0) at @two, "
        "no barrier between",
    ),
    "blocks_add": (
        {"grid": (2, 2)},
        "block (1,0,0) thread (0,0,0): race on y[0,0]: read at @blocks, written by block (0,0,0) thread (0,0,0) at "
        "@blocks, and nothing orders blocks",
    ),
    "atomic_and_plain": (
        {},
        "block (0,0,0) thread (40,0,0): race on y[0,0]: write at @plain, changed by an atomic operation of "
        "thread (39,0,0) at @atomic, no barrier between",
    ),
    "within_a_warp": (
        {"block": 32},
        "block (0,0,0) thread (8,0,0): race on shared s[8]: write at @warp_before, read by thread (0,0,0) at @warp, "
        "no barrier between",
    ),
    "past_the_end": (
        {"grid": 2, "n": 64},
        "block (1,0,0) thread (0,0,0): out of bounds: write of 4 bytes at @past, 0 bytes past the end of y, whose "
        "shape is (32, 2)",
    ),
    "before_the_start": (
        {},
        FIRST + "out of bounds: read of 4 bytes at @before, 12 bytes before the start of x, whose shape is (3, 23)",
    ),
    "wrong_stride": (
        {},
        "block (0,0,0) thread (10,0,0): out of bounds: read of 4 bytes at @stride, 4 bytes past the end of x, whose "
        "shape is (3, 23)",
    ),
    "four_past_the_end": (
        {},
        "block (0,0,0) thread (16,0,0): out of bounds: write of 16 bytes at @four, 0 bytes past the end of y, whose "
        "shape is (32, 2)",
    ),
    "null_pointer": ({}, FIRST + "out of bounds: read of 4 bytes at @null, far from every array"),
    "past_shared": (
        {},
        "block (0,0,0) thread (16,0,0): out of bounds: write of 4 bytes at @shared, 0 bytes past the end of shared "
        "tile[4][5]",
    ),
    "past_dynamic": (
        {"shared": 4 * 63},
        "block (0,0,0) thread (63,0,0): out of bounds: write of 4 bytes at @dynamic, 0 bytes past the end of shared "
        "tile[63]",
    ),
    "past_a_row": (
        {"n": 2},
        "block (0,0,0) thread (3,0,0): out of bounds: index 5 of an array float[5], at @row",
    ),
    "misaligned": (
        {},
        "block (0,0,0) thread (1,0,0): misaligned: x[0,1] is used at @misaligned as const float4, which must "
        "lie at a multiple of 16 bytes",
    ),
    "misaligned_shared": (
        {},
        FIRST + "misaligned: shared tile[0] is used at @tile as float4, which must lie at a multiple of 16 bytes",
    ),
    "diverged": (
        {},
        "block (0,0,0) thread (33,0,0): barrier divergence: it waits at the barrier @other, while thread (0,0,0) "
        "waits at @one; all threads of a block must come to the same one",
    ),
    "skipped": (
        {},
        FIRST + "barrier divergence: it waits at the barrier @half, but 31 of the 64 threads of the block finished "
        "without coming to it, the first of them thread (33,0,0); GPUs since Volta go on without them, but CUDA asks "
        "that all threads of a block come",
    ),
    "left": (
        {"n": 63},
        FIRST + "barrier divergence: it waits at the barrier @left, but 1 of the 64 threads of the block finished "
        "without coming to it, the first of them thread (63,0,0); GPUs since Volta go on without them, but CUDA asks "
        "that all threads of a block come",
    ),
    "exited_lane": (
        {"block": 32},
        "block (0,0,0) thread (12,0,0): the shuffle at @exited reads lane 16, which has exited",
    ),
    "outside_the_mask": ({}, FIRST + "the shuffle at @outside reads lane 20, which is not in the mask"),
    "not_in_its_mask": (
        {},
        "block (0,0,0) thread (16,0,0): the mask 0x0000ffff of the warp operation at @mask leaves out the calling "
        "lane 16",
    ),
    "stuck": (
        {"block": 45},
        FIRST + "deadlock: it waits in a warp operation at @stuck for lanes of the mask 0xffffffff that never get "
        "there (16 threads wait in warp operations, 29 at a barrier, 0 have finished)",
    ),
    "half_a_product": (
        {"block": 32},
        FIRST + "the matrix product at @product needs all 32 lanes of the warp; active are 0x0000ffff",
    ),
    "two_products": (
        {"block": 32},
        "block (0,0,0) thread (16,0,0): the matrix product at @high_lanes is another one than that of thread (0,0,0) "
        "at @low_lanes; all lanes of a warp must come to the same instruction",
    ),
    "overflow": ({"n": 32768}, FIRST + "integer overflow: 32768 * 65536 does not fit in int, at @overflow"),
    "add_overflow": ({"n": 5}, FIRST + "integer overflow: 5 + 2147483647 does not fit in int, at @add"),
    "division": ({"n": 65536}, FIRST + "division by zero: 7 / 0 at @division"),
    "shift": ({"n": 32}, FIRST + "shift of 1 (int) by 32 bits, at @shift"),
    "no_wait": (
        {"block": 32},
        FIRST + "read at @no_wait of shared tile[1][127], while the asynchronous copy to it, at @copy, has not been "
        "waited for",
    ),
    "wait_without_barrier": (
        {"order": "reverse"},
        "block (0,0,0) thread (63,0,0): missing barrier: read at @barrier of shared tile[0], which nothing has been "
        "written to yet in this block",
    ),
    "misaligned_copy": (
        {},
        FIRST + "misaligned: an asynchronous copy of 16 bytes at @copy_misaligned; both addresses must be "
        "multiples of 16",
    ),
    "bad_copy": (
        {},
        FIRST + "asynchronous copy of 12 bytes, 12 of them valid, at @copy_bytes; it must be 4, 8 or 16, and no more "
        "of them valid",
    ),
    "copy_past_the_end": (
        {},
        FIRST + "out of bounds: read of 16 bytes at @copy_past, 12 of them past the end of x, whose shape is (3, 23)",
    ),
}


@pytest.fixture
def text():
    return source.read(FILE)


def arguments():
    """x (3, 23), y (32, 2): an array of 69 and one of 64."""
    return array(np.arange(69).reshape(3, 23)), array(np.zeros((32, 2)))


def message(text, kernel, check=True, order="forward", n=None, grid=1, block=64, shared=0):
    """What the emulator says of a kernel, with each line replaced by its name in the file."""
    x, y = arguments()
    by_name = {"x": None if kernel == "null_pointer" else x, "y": y, "n": n, "k": n}
    args = [by_name[p.name] for p in text.kernels[kernel]]
    if text.kernels[kernel][-1 if n is None else -2].type == "int":
        args = [np.zeros(64, np.int32).view(type(x)) if a is y else a for a in args]
    with emulator.options(check=check, order=order), pytest.raises(emulator.EmulatorError) as caught:
        run(text, kernel, *args, grid=grid, block=block, shared=shared)
    assert caught.value.file == FILE.name
    assert caught.value.kernel == kernel
    said = str(caught.value)
    assert said.startswith(f"{FILE.name}: {kernel}: block (")
    assert "\n" not in said
    for name, line in LINES.items():
        said = re.sub(rf"{line}\b", f"@{name}", said)
    return said.partition(": ")[2].partition(": ")[2]


if "clang" in build.version(build.compiler()):
    del FAULTS["misaligned"]  # clang++ reads the four parts one by one, and each of them lies right
    del FAULTS["two_products"]  # it makes one call of those in the two branches


@pytest.mark.parametrize("kernel", FAULTS)
def test_a_fault_is_named(text, kernel):
    launch, said = FAULTS[kernel]
    assert message(text, kernel, **launch) == said


def test_every_faulty_kernel_is_tried(text):
    assert set(FAULTS) | {"misaligned", "two_products"} == set(text.kernels) - {"right"}


@pytest.mark.parametrize("order", ["forward", "reverse", "random"])
def test_a_right_kernel_passes_after_a_faulty_one(text, order):
    for kernel, (launch, _) in FAULTS.items():
        message(text, kernel, **launch | {"order": order})
        x, y = arguments()
        with emulator.options(check=True, order=order):
            run(text, "right", x, y, 61, block=64)
        np.testing.assert_array_equal(y.ravel()[3:61], x.ravel()[3:61][::-1])


FOUND_AT_ONCE = ["diverged", "exited_lane", "outside_the_mask", "not_in_its_mask", "stuck", "half_a_product"]


@pytest.mark.parametrize("kernel", [*FOUND_AT_ONCE, "misaligned_copy", "bad_copy"])
def test_what_stops_a_fast_run_is_named_there_too(text, kernel):
    launch, said = FAULTS[kernel]
    assert message(text, kernel, check=False, **launch) == said
    x, y = arguments()
    run(text, "right", x, y, 61, block=64)
    np.testing.assert_array_equal(y.ravel()[3:61], x.ravel()[3:61][::-1])


def test_a_missing_barrier_makes_nan_of_the_result_in_a_fast_run(text):
    x, y = arguments()
    run(text, "read_too_early", x, y, block=64)
    assert np.isnan(y).any()


def test_a_fast_run_goes_on_without_threads_that_have_left(text):
    _, y = arguments()
    run(text, "skipped", y, block=64)
    assert (y == 1).all()


def test_what_a_faulty_kernel_had_written_before_is_there(text):
    x, y = arguments()
    with emulator.options(check=True), pytest.raises(emulator.EmulatorError):
        run(text, "past_the_end", x + 5, y, 64, grid=2, block=64)
    assert (y == 5).all()


def test_a_line_without_addr2line(text, monkeypatch, tmp_path):
    with_it = message(text, "two_writers")
    compiler = build.compiler()[0]
    (tmp_path / Path(compiler).name).symlink_to(shutil.which(compiler))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "write at @two, written" in with_it
    said = message(text, "two_writers")
    assert "write at an unknown line (addr2line, of binutils, is not installed), written by thread (0,0,0)" in said


def test_a_line_of_a_header_is_named_with_the_line_that_led_there(tmp_path):
    (tmp_path / "load.cuh").write_text(
        "__device__ __forceinline__ float load(const float* p, int i) {\n  return p[i];\n}\n"
    )
    text = kernels(
        tmp_path,
        '#include "load.cuh"\nextern "C" __global__ void f(const float* x, float* y) {\n'
        "  y[threadIdx.x] = load(x, threadIdx.x);\n}\n",
        name="outer.cu",
    )
    with emulator.options(check=True), pytest.raises(emulator.EmulatorError) as caught:
        run(text, "f", array(np.zeros(31)), empty(32))
    assert "read of 4 bytes at load.cuh:2 from outer.cu:3, 0 bytes past the end of x" in str(caught.value)
