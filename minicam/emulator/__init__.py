"""A GPU, imitated: `.cu` files are compiled by an ordinary C++ compiler, and their kernels run over NumPy memory.

How it is done, from a kernel to its result:

1. `rewrite.py` turns `__shared__` declarations into C++, and `emulator.h` gives all other words of CUDA a meaning.
   `threadIdx` is a global variable, `__global__` is nothing at all, and `float4` a struct.
2. `build.py` compiles the file behind that header, once; `module.py` loads it and hands over the arguments.
3. `scheduler.cpp` runs the blocks one after the other, and the threads of a block in turns, on one core. A thread is a
   fiber (`fibers.cpp`): a function call with a stack of its own, which can stop in the middle. It stops at a barrier
   and in a warp operation, and only there; when all threads have come, they go on.
4. Shared memory (`shared.cpp`) is memory that every block gets anew, full of NaN. Lanes of a warp exchange values, and
   use the matrix units, by leaving what they have; when all have, it is done for all of them (`cooperation.cpp`).
5. In check mode the compiler calls a function before every access to memory (`sanitizer.cpp`), which compares it with
   all earlier ones (`checker.cpp`). `records.py` puts them into words.

    import numpy as np
    from minicam import emulator
    from minicam.backend import to_device
    from minicam.ops import gap

    x = to_device(np.ones((1, 2, 3, 4), np.float32), "emulator")
    with emulator.options(check=True, order="random", seed=3):     # for every launch in here
        y = gap.forward(x)
    with emulator.trace() as launches:                             # what each thread reads and writes
        y = gap.forward(x)

Check mode finds: races within a block and between blocks, missing barriers, accesses outside an array or at a
misaligned address, barriers and warp operations that some threads never reach, shuffles from lanes that do not take
part, asynchronous copies read before their wait, overflow of integers, division by zero. The message names the kernel,
the block, the thread, the array with its index, and the line. It knows nothing of branches not taken and of sizes not
tried, and cannot tell two arguments that share memory from each other. clang++ hides from it some misaligned vectors,
and matrix products of which there is one in each branch.
`python -m minicam.emulator check` calls every kernel so, and compares the results with NumPy's.

A barrier opens when all threads of the block have come to it or have finished, as on GPUs since Volta. CUDA asks that
all of them come: where some have finished, check mode says so. Barriers are told apart by file and line only, so two
that are in one line, or one that threads reach in different rounds of a loop, pass for the same.

What is not imitated, and so cannot be learned here:

- Speed. Nothing here says which kernel is the faster one: coalescing, bank conflicts, occupancy, caches, registers.
- Blocks at the same time. They run one by one, so kernels that wait for another block wait for ever.
- The memory model: a write is seen at once by all, and `__threadfence` does nothing.
- The last bits. Products and sums are not contracted to fused ones, denormal numbers are kept, `__expf` is `expf`, and
  the matrix units add in another order than the real ones, whose order is not documented.
- Races that happen to go well in a fast run: threads are never interrupted. That is what check mode is for.
- A wild address in a fast run takes the process with it. Check mode names it, before it is used.
- Cooperative groups, clusters, wgmma, TMA, ldmatrix, half precision, textures, dynamic parallelism. Inline PTX is
  what a kernel calls through functions that have a branch for `MINICAM_EMULATOR`.
"""

from minicam.emulator.launches import launch, options, trace
from minicam.emulator.module import ORDERS, EmulatorError
from minicam.emulator.records import Access, Launch

__all__ = ["ORDERS", "Access", "EmulatorError", "Launch", "launch", "options", "trace"]
