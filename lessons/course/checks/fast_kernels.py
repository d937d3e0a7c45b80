"""Lesson 10, fast kernels."""

from typing import Any

import numpy as np

from course import emulated
from course.exercise import case, exercise
from minicam import MinicamError, backend, emulator


@exercise
def tiled_reads():
    """How many blocks need the same row of a? As many as there are tiles side by side. And the same column of b?"""
    yield case(8, 8, 8, 4, 4, gives=256, hint="In the lesson's product of 8 x 8 matrices, tiles of 4 read 256 numbers.")
    yield case(6, 4, 5, 1, 1, gives=240, hint="Tiles of 1 x 1 are the naive kernel: two reads for each multiplication.")
    for sizes in ((128, 64, 8, 128, 64), (128, 96, 3, 64, 32), (10, 7, 3, 4, 4), (401, 64, 576, 128, 64)):
        yield case(*sizes, gives=_counted(*sizes), hint="A tile that is cut off at the edge is one more tile.")


def _counted(M, N, D, height, width):
    """Block by block."""
    reads = 0
    for m in range(0, M, height):
        for n in range(0, N, width):
            reads += (min(m + height, M) - m) * D + D * (min(n + width, N) - n)
    return reads


@exercise
def blur_kernel():
    """Each thread puts its own number into the tile, and the two at the ends one more. Then all of them wait."""
    behind = "Threads beyond the end have no result, but put a 0 into the tile and come to the barrier."
    for threads, n, hint in ((64, 192, ""), (64, 150, behind), (32, 40, behind)):
        yield case(threads, holds=lambda text, t=threads, n=n: _blurs(text, t, n), hint=hint)


def _blurs(text: Any, threads: int, n: int) -> bool | str:
    """True, or what is wrong: it is traced, in check mode, with the threads in every order."""
    if refused := emulated.refusal(text, "blur", "const float* x, float* y, int n"):
        return refused
    blocks, host = -(-n // threads), np.random.default_rng(n).standard_normal(n, np.float32)
    x, expected = backend.to_device(host, "emulator"), np.convolve(host, np.full(3, 1 / 3), "same")
    for order in emulator.ORDERS:
        y = backend.empty(n, np.float32, like=x)
        try:
            done = emulated.launch(text, (x, y, n), (blocks,), threads, trace=True, order=order)
        except MinicamError as error:
            return f"with n = {n}, check mode says: {error}"
        wrong = np.flatnonzero(~(np.abs(np.asarray(y) - expected) < 1e-5))
        if len(wrong):
            return f"with n = {n}, y[{wrong[0]}] is {y[wrong[0]]:.4g}, expected {expected[wrong[0]]:.4g}"
    name = next(iter(done.arguments))  # of x, whatever it is called
    reads = sum(a.kind == "read" and a.array == name for a in done.accesses)
    if reads > n + 2 * blocks:
        return f"the numbers are right, but x is read {reads} times; with a tile, {n + 2 * blocks} are enough"
    return True


@exercise
def turns():
    """Word number i is in bank i % 32. The bank that is asked for most words makes all others wait."""
    lanes = np.arange(32)
    rng = np.random.default_rng(104)
    for stride in (1, 2, 32, 33, 12):
        yield case(stride * lanes, gives=_asked(stride * lanes), hint=f"(Here thread t asks for word {stride} t.)")
    yield case(np.full(32, 7), gives=1, hint="Threads that ask for the same word get it in one turn.")
    for words in (lanes // 2 * 64, rng.integers(0, 256, 32), rng.integers(0, 4096, 32)):
        yield case(words, gives=_asked(words), hint="A word that several threads ask for counts once.")


def _asked(words):
    """By sets: what each bank is asked for."""
    banks = {}
    for word in words.tolist():
        banks.setdefault(word % 32, set()).add(word)
    return max(map(len, banks.values()))


@exercise
def turned_address():
    """First take `depth` apart into r, s and k, the last one fastest. Then turn r and s, and put all together again."""
    yield case(0, 0, 1, 1, 2, 3, gives=0)
    yield case(1, 1, 1, 1, 2, 3, gives=4, hint="A kernel of 1 x 1 has nothing to turn: w[0, 0, 1, 1] is number 4.")
    yield case(0, 0, 3, 3, 1, 1, gives=8, hint="The first tap of the turned kernel is the last one of w.")
    rng = np.random.default_rng(105)
    for R, S, C, K in ((3, 3, 2, 4), (3, 5, 4, 3), (1, 3, 5, 2)):
        numbers = np.arange(R * S * C * K).reshape(R, S, C, K)
        matrix = numbers[::-1, ::-1].swapaxes(2, 3).reshape(R * S * K, C)
        for depth, c in zip(rng.integers(0, R * S * K, 5).tolist(), rng.integers(0, C, 5).tolist(), strict=True):
            yield case(depth, c, R, S, C, K, gives=int(matrix[depth, c]))


@exercise
def to_tf32():
    """Cutting the last 13 bits off rounds towards 0. Add half of the last bit that stays first: 0x1000."""
    yield case(np.array([1, 1.5, -2, 0.25], np.float32), gives=np.array([1, 1.5, -2, 0.25]))
    ties = np.array([1, 3, 5], np.float32) / 2**11 + 1
    yield case(ties, gives=_to_ten_bits(ties), tolerance=1e-8, hint="A half is rounded away from zero: 1 + 1/2048 up.")
    yield case(-ties, gives=_to_ten_bits(-ties), tolerance=1e-8, hint="The sign is the first bit, and stays as it is.")
    rng = np.random.default_rng(106)
    for scale in (1, 1e6, 1e-12):
        x = (scale * rng.standard_normal((4, 5))).astype(np.float32)
        yield case(x, gives=_to_ten_bits(x), tolerance=1e-8, hint="It keeps all 8 bits of the exponent.")
        is_float32 = "The numbers are right; the type must be float32."
        yield case(x, holds=lambda y: getattr(y, "dtype", None) == np.float32, hint=is_float32)


def _to_ten_bits(x):
    """By arithmetic: the fraction, from 1/2 to 1, in units of 1/2048."""
    fraction, exponent = np.frexp(x.astype(np.float64))
    return np.ldexp(np.trunc(fraction * 2**11 + np.copysign(0.5, fraction)) / 2**11, exponent)
