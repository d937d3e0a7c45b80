"""How the tiles of the fast kernels lie in shared memory: no access of a warp waits for another of the same warp.

Shared memory has 32 banks, each of which serves one 4-byte word at a time: words 0, 32, 64 and so on are in the first.
"""

import numpy as np

from minicam import cuda
from minicam.backend import to_cpu, to_device


def turns(addresses, numbers=1):
    """How many turns a warp takes to access `numbers` side by side from each address; 1 where no bank is asked twice.

    32 banks of 4 bytes; of 16-byte accesses those of 8 threads make a turn.
    """
    together = 32 // numbers
    most = 0
    for i in range(0, len(addresses), together):
        words = {a + j for a in addresses[i : i + together] for j in range(numbers)}
        most = max(most, max(np.bincount([word % 32 for word in words])))
    return most


def test_turns_counts_conflicts():
    assert turns(range(32)) == 1
    assert turns([7] * 32) == 1  # one word for all
    assert turns([2 * i for i in range(32)]) == 2
    assert turns([32 * i for i in range(32)]) == 32
    assert turns([4 * i for i in range(32)], 4) == 1
    assert turns([8 * i for i in range(32)], 4) == 2


MMA_TILES = [  # width, depth, threads, numbers in a copy, is depth first
    (width, depth, threads, vector, first)
    for width, threads in ((256, 256), (128, 256), (256, 128), (64, 128))
    for depth, vector in ((16, 4), (8, 1))
    for first in (True, False)
]
TILED_TILES = [
    (width, 8, threads, 1, first)
    for width, threads in ((128, 128), (64, 128), (128, 64), (16, 64))
    for first in (True, False)
]
LAYOUT = {  # the type whose at(index, depth) says where an element lies in shared memory
    "conv_mma.cu": "Tile<WIDTH, DEPTH, DEPTH_FIRST>",
    "gemm.cuh": "Line<WIDTH>",
}
PROBE = """#include "{file}"
template <int WIDTH> struct Line {{
  static __device__ int at(int index, int depth) {{ return depth * (WIDTH + {pad}) + index; }}
}};
// places: at(index, depth). mine: for each thread, the index and the depth of the first piece that it copies.
template <int WIDTH, int DEPTH, int BLOCK, int VECTOR, bool DEPTH_FIRST>
__device__ void probe(int* places, int* mine) {{
  int t = threadIdx.x;
  for (int i = t; i < WIDTH * DEPTH; i += BLOCK) places[i] = {layout}::at(i / DEPTH, i % DEPTH);
  Operand<DEPTH_FIRST, Stride, Stride> operand = {{nullptr, {{1}}, {{1}}, 1, 1}};
  Share<WIDTH, DEPTH, BLOCK, VECTOR, decltype(operand)> share(operand, 0, WIDTH, 0, DEPTH);
  mine[2 * t] = share.my_index;
  mine[2 * t + 1] = share.my_depth;
}}
"""


def probe(folder, file, tiles):
    """For each tile: the places (width, depth) of its elements; index and depth of what each thread copies first."""
    pad = cuda.constant("gemm.cuh", "PAD")
    text = PROBE.format(file=cuda.source.FOLDER / file, layout=LAYOUT[file], pad=pad)
    for number, (*sizes, first) in enumerate(tiles):
        options = f"{', '.join(map(str, sizes))}, {str(first).lower()}"
        text += f'extern "C" __global__ void probe{number}(int* p, int* mine) {{ probe<{options}>(p, mine); }}\n'
    path = folder / "probe.cu"
    path.write_text(text)
    for number, (width, depth, threads, _, _) in enumerate(tiles):
        places, mine = (to_device(np.zeros(s, np.int32), "emulator") for s in ((width, depth), (threads, 2)))
        cuda.launch(path, f"probe{number}", (places, mine), blocks=(1,), block=threads)
        yield tiles[number], to_cpu(places), to_cpu(mine).reshape(-1, 32, 2)


def test_conv_mma_has_no_bank_conflicts(tmp_path):
    for (width, depth, _, vector, _), places, mine in probe(tmp_path, "conv_mma.cu", MMA_TILES):
        assert len(np.unique(places)) == places.size  # each element has a place of its own
        for warp in mine:
            assert turns([places[i, d] for i, d in warp], vector) == 1  # its copies
        for index in range(0, width, 8):  # its fragments: lane (g, q) reads index g, depth q
            for d in range(0, depth, 4):
                assert turns([places[index + lane // 4, d + lane % 4] for lane in range(32)]) == 1


def test_conv_tiled_has_no_bank_conflicts_but_in_one_case(tmp_path):
    for (width, depth, _, _, depth_first), places, mine in probe(tmp_path, "gemm.cuh", TILED_TILES):
        copies = max(turns([places[i, d] for i, d in warp]) for warp in mine)
        # Where the 32 threads copy two lines of 16 columns, 20 banks apart, 4 banks are asked twice.
        assert copies == (2 if width == 16 and not depth_first else 1)
        for d in range(depth):
            for alike in (1, 2, 8):  # so many threads side by side read the same 4 rows, or columns
                groups = [lane // alike % (width // 8) for lane in range(32)]
                assert turns([places[4 * group, d] for group in groups], 4) == 1
