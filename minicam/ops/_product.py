"""How a matrix product is shared out among the blocks of a GPU, and a sum over rows: what conv and linear share.

How many parts a sum is cut into depends on the shapes alone, never on the GPU: it is the order of the sum, and so part
of the result.
"""

from typing import Any

from minicam import cuda, source
from minicam.backend import empty

SUM_BLOCKS = 512  # parts in flight: some for each multiprocessor of a large GPU
SUM_STEP = 64  # rows of a part at least


def tiles(file: str, rows: int, columns: int, parts: int = 1) -> dict[str, Any]:
    """What `launch` needs to know for a product (rows, columns) in the tiles of a file, wide or narrow ones.

    parts  of the sum over depth, each of them blocks of their own
    """
    text = source.read(file)
    narrow = columns <= text.constant("TILE_N") // 2
    names = ("NARROW", "NARROW_THREADS", "NARROW_SHARED_BYTES") if narrow else ("TILE_N", "THREADS", "SHARED_BYTES")
    height, width, block, shared = (text.constant(name) for name in ("TILE_M", *names))
    return {"blocks": (-(-rows // height), -(-columns // width), parts), "block": block, "shared": shared}


def sum_rows(a: Any) -> Any:
    """Sums (columns,) over the rows of a device array whose last axis is the columns, in an order fixed by its shape.

    Tall ones in two launches: many parts of the rows at the same time, and then the sums of these parts.
    """
    rows = a.reshape(-1, a.shape[-1])
    across = -(-a.shape[-1] // cuda.constant("sum_rows.cu", "SUM_COLUMNS"))  # blocks side by side
    step = max(-(-len(rows) * across // SUM_BLOCKS), SUM_STEP)  # rows of a part
    parts = -(-len(rows) // step)
    sums = _sum_parts(rows, parts, across)
    return (sums if parts == 1 else _sum_parts(sums, 1, across)).reshape(-1)


def _sum_parts(rows: Any, parts: int, across: int) -> Any:
    """Sums (parts, columns) of rows (N, columns)."""
    sums = empty((parts, rows.shape[1]), rows.dtype, like=rows)
    args, block = (rows, sums, *rows.shape, parts), cuda.constant("sum_rows.cu", "SUM_THREADS")
    cuda.launch("sum_rows.cu", "sum_rows", args, blocks=(across, parts), block=block)
    return sums
