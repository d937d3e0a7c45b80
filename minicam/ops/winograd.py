"""The fast NumPy form of a 3x3 convolution: Winograd's F(4x4, 3x3), with a quarter of the multiplications.

In one dimension first. Four outputs y[i] = d[i] g[0] + d[i+1] g[1] + d[i+2] g[2] come from six inputs d and three
weights g, directly by 12 multiplications. Six suffice, since this is the multiplication of polynomials in disguise.
Take g of degree 2 and h of degree 3, by their coefficients. Their product p has degree 5, so six of its values say what
it is, and each is a single multiplication: p(t) = g(t) h(t). With G and A for evaluating g and h at six points, and C
for finding a polynomial from its values there, all three of them matrices that do not depend on the numbers,

    p = C ((G g) * (A h))                                         * is element by element

For a fixed g this is p = T h, with T[k,i] = g[k-i], 6x4. The transpose of T is the convolution: sum over k of
T[k,i] d[k] is y[i]. By the formula T = C diag(G g) A, and transposing reverses the factors: y = A^T diag(G g) C^T d.
Each row of C^T has a denominator, Lagrange's. Move it into the same row of G, which is applied but once for each
kernel, and call what is left of C^T, whole numbers, B:

    y = A^T ((G g) * (B d))                                       6 multiplications; A^T is 4x6, G 6x3, B 6x6

The points are 0, 1, -1, 2, -2 and "infinity", where a polynomial has as its value its highest coefficient: small
numbers, so that A and B are of small whole numbers, and evaluating costs no more than it saves. `matrices` finds them.

In two dimensions the rows are treated so, and then the columns. Of a 6x6 patch d, which overlaps its neighbours by two
pixels, and a kernel g come 4x4 outputs by 36 multiplications, where 144 were needed. Over channels one sums between
the evaluations, and there lies most of the work: for each of the 36 pairs of points one product of two matrices,

    V = B d B^T  (36, tiles, C)    U = G w G^T  (36, C, K)    M = V @ U  (36, tiles, K)    y = A^T M A

An output that is the same for all of a tile is M at the points (1, 1): that is where the bias is added.

The gradients. dx is the convolution of dy with the kernel turned by 180 degrees, its C and K swapped. And dw, turned by
180 degrees, is the sum of x[i,j] dy[i+r-1,j+s-1]: as if dy were the input of a convolution and x the gradient of its
output. So here V = B dy B^T (36, tiles, K) and dM = A x A^T (36, tiles, C), as A^T was the way back. The gradient of U
would be V^T dM (36, K, C); w has C first, so it is the transpose that is wanted, dM^T V:

    dU = (A x A^T)^T @ (B dy B^T)  (36, C, K)    dw = G^T dU G, turned

so that both gradients are made from the same transformed dy, which is computed once.

What it costs is precision: in float32 some 1e-5 of the largest output, where the direct sum has 4e-7, for the matrices
make numbers larger that then cancel. Larger tiles would save more multiplications and lose more digits. And what is not
finite does not stay where it is: it spreads over its tile.

In NumPy both transforms are one product with a 36x36 (or 16x36) matrix, the Kronecker product of B (or A) with itself:
that is more arithmetic than going by rows and columns, but done in BLAS, at once, and so in less time.

Sources: Winograd, "Arithmetic Complexity of Computations" (1980); Lavin and Gray, "Fast Algorithms for Convolutional
Neural Networks" (2016), section 4, which has the tiles and the products over channels, and writes B^T for our B.
"""

from collections.abc import Sequence

import numpy as np

from minicam.backend import each, in_parts
from minicam.ops._tiles import TILE, Group, Plan, Tiles, alone, plan, scratch

POINTS = (0, 1, -1, 2, -2)  # and infinity
PATCH = TILE + 2  # input pixels, along one side
ALL = PATCH * PATCH  # pairs of points
ONES = POINTS.index(1) * PATCH + POINTS.index(1)  # the pair (1, 1)

STEP = 1 << 14  # kernels transformed at a time
DU_BYTES = 96 << 20  # of the parts that dU is summed in, all together
DU_PARTS = 16
LEAST = {False: (48, 1 << 29), True: (12, 1 << 27)}  # tiles, and multiplications of the direct sum; for backward: True


def matrices(points: Sequence[float] = POINTS, taps: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A (n, n+1-taps), B (n, n) and G (n, taps) of y = A^T ((G g) * (B d)), for these n-1 points and infinity.

    A row of A and G holds the powers of a point. The polynomial that is 1 at one point t and 0 at the others is, by
    Lagrange, the product of x - u over the other points u, divided by its value at t: its coefficients are a row of B;
    the division is done in G, where it is done once for each kernel. The row for infinity has the product over all
    points: it is 0 at them, and its highest coefficient is 1.
    """
    n = len(points) + 1
    others = [[u for u in points if u != t] for t in points]
    A, B, G = np.zeros((n, n + 1 - taps)), np.zeros((n, n)), np.zeros((n, taps))
    for row, (t, rest) in enumerate(zip(points, others, strict=True)):
        A[row], G[row] = t ** np.arange(n + 1.0 - taps), t ** np.arange(float(taps)) / np.prod(np.subtract(t, rest))
        B[row, : n - 1] = np.atleast_1d(np.poly(rest))[::-1]
    A[-1, -1] = G[-1, -1] = 1
    B[-1] = np.poly(points)[::-1]
    return A, B, G


A, B, G = matrices()
# For rows and columns at once, (36, 16), (36, 36) and (36, 9).
A2, B2, G2 = (np.kron(m, m) for m in (A, B, G))
G2_TURNED = np.kron(G[:, ::-1], G[:, ::-1])


def suits(x_shape: Sequence[int], w_shape: Sequence[int], backward: bool = False) -> bool:
    """Is this the faster way to convolve x (N, H, W, C) with w (R, S, C, K)? As measured, beside `im2col`.

    It is not for few channels, where the transforms are most of the work; nor for few tiles, for which the many kernels
    are transformed; nor for little work of any kind. Backward, where dx and dw share so much, it begins to be earlier.
    """
    (N, H, W, C), (R, S, _, K) = x_shape, w_shape
    tiles = N * -(-H // TILE) * -(-W // TILE)
    least_tiles, least_products = LEAST[backward]
    products = N * H * W * R * S * C * K
    return (R, S) == (3, 3) and min(C, K) >= 32 and tiles >= least_tiles and products >= least_products


# -- forward and backward


def forward(x: np.ndarray, w: np.ndarray, b: np.ndarray, relu: bool = False) -> np.ndarray:
    """y (N, H, W, K) of x (N, H, W, C), w (3, 3, C, K) and b (K,), with negative values set to 0 where `relu`."""
    C, K = w.shape[2:]
    y = np.empty((*x.shape[:3], K), x.dtype)
    U = _kernels(w, G2)  # (36, C, K)

    def work(group: Group) -> None:
        V, M = (scratch(name, (ALL, group.count, width), x.dtype) for name, width in (("V", C), ("M", K)))
        group.run(lambda tiles: _evaluate(B2, _columns(x, tiles, PATCH, V.dtype), tiles, V), group.pieces)
        group.run(lambda p: _multiply(V[p], U[p], M[p]), group.points)  # 36 times (tiles, C) (C, K) -> (tiles, K)
        M[ONES] += b
        group.run(lambda tiles: _interpolate(M, tiles, y, relu), group.pieces)

    whole = plan(x.shape, U.nbytes, max(C, K), x.itemsize, ALL)
    whole.run(work, whole.groups)
    return y


def backward(
    dy: np.ndarray, x: np.ndarray, w: np.ndarray, y: np.ndarray | None = None, need_dx: bool = True
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
    """dx (N, H, W, C) or None, dw (3, 3, C, K), db (K,); `y` and `need_dx` as in `conv.backward_numpy`."""
    C, K = w.shape[2:]
    dx = np.empty(x.shape, x.dtype) if need_dx else None
    turned = _kernels(w, G2_TURNED).swapaxes(1, 2) if need_dx else None  # (36, K, C)

    def work(group: Group, dU: np.ndarray, db: np.ndarray, first: bool) -> None:
        V, X = (scratch(name, (ALL, group.count, width), x.dtype) for name, width in (("V", K), ("M", C)))

        def transform(tiles: Tiles) -> np.ndarray:
            columns = _columns(dy, tiles, PATCH, V.dtype, y)
            _evaluate(B2, columns, tiles, V)
            total = _inner_sum(columns)
            _evaluate(A2, _columns(x, tiles, TILE, X.dtype), tiles, X)
            return total

        def product(p: slice) -> None:
            out = dU[p] if first else scratch("dU", dU[p].shape, x.dtype)
            _multiply(X[p].swapaxes(1, 2), V[p], out)  # 36 times (C, tiles) (tiles, K) -> (C, K)
            if not first:
                dU[p] += out
            if need_dx:
                _multiply(V[p], turned[p], X[p])  # 36 times (tiles, K) (K, C) -> (tiles, C); x is not needed now

        db += sum(group.run(transform, group.pieces))
        group.run(product, group.points)
        if need_dx:
            group.run(lambda tiles: _interpolate(X, tiles, dx), group.pieces)

    def part(groups: list[Group]) -> tuple[np.ndarray, np.ndarray]:
        dU, db = np.empty((ALL, C, K), x.dtype), np.zeros(K, x.dtype)
        for i, group in enumerate(groups):
            work(group, dU, db, i == 0)
        return dU, db

    kernel_bytes = ALL * C * K * x.itemsize
    whole = plan(x.shape, kernel_bytes, max(C, K), x.itemsize, ALL)
    (dU, db), *others = whole.run(part, _parts(whole, kernel_bytes))
    for more_dU, more_db in others:  # in this order, however many threads there are
        dU += more_dU
        db += more_db
    return dx, _kernels_back(dU), db


def _parts(whole: Plan, kernel_bytes: int) -> list[list[Group]]:
    """The groups whose share in dU is summed on its own: in a power of two of parts, to be even for most machines."""
    most = 1 if whole.run is alone else min(DU_PARTS, DU_BYTES // kernel_bytes, len(whole.groups))
    return in_parts(whole.groups, 1 << (max(1, most).bit_length() - 1))


# -- there and back


def _kernels(w: np.ndarray, G2: np.ndarray) -> np.ndarray:
    """U (36, C, K) = G w G^T."""
    U = scratch("U", (ALL, *w.shape[2:]), w.dtype)
    _product(G2, w.reshape(9, -1), U.reshape(ALL, -1))
    return U


def _kernels_back(dU: np.ndarray) -> np.ndarray:
    """dw (3, 3, C, K) = G^T dU G, turned by 180 degrees."""
    dw = np.empty((3, 3, *dU.shape[1:]), dU.dtype)
    _product(G2_TURNED.T, dU.reshape(ALL, -1), dw.reshape(9, -1))
    return dw


def _product(matrix: np.ndarray, wide: np.ndarray, out: np.ndarray) -> None:
    """out = matrix @ wide, on all threads."""
    matrix = np.ascontiguousarray(matrix, wide.dtype)
    starts = range(0, wide.shape[1], STEP)
    each(lambda i: np.matmul(matrix, wide[:, i : i + STEP], out=out[:, i : i + STEP]), starts)


def _columns(x: np.ndarray, tiles: Tiles, side: int, dtype: np.dtype, y: np.ndarray | None = None) -> np.ndarray:
    """(n, rows, side, J, C): x[n, row, 4 j + column] for each of `side` columns of the tiles in turn.

    Of `side` rows each the columns of one row of tiles are then one block of memory, (side * side, J * C), which can be
    multiplied as it is, though it overlaps that of the next. Patches of 6 reach one pixel out of their tiles on every
    side. What is outside the image is 0; and, where y is given, what is not positive there.
    """
    (_, H, _, C), (count, height, J) = x.shape, tiles.shape
    out = (side - TILE) // 2
    columns = scratch("columns", (count, TILE * height + 2 * out, side, J, C), dtype)
    first = TILE * tiles.rows.start - out
    top, bottom = max(first, 0), min(first + columns.shape[1], H)
    columns[:, : top - first] = columns[:, bottom - first :] = 0
    inside, here = columns[:, top - first : bottom - first], (tiles.images, slice(top, bottom))
    pixels = x[here]
    if y is not None:
        positive = np.greater(y[here], 0, out=scratch("positive", pixels.shape, np.dtype(bool)))
        pixels = np.multiply(pixels, positive, out=scratch("pixels", pixels.shape, dtype))
    for column in range(side):
        left = int(column < out)  # tiles whose column lies to the left of the image
        there = pixels[:, :, TILE * left + column - out :: TILE][:, :, : J - left]
        right = left + there.shape[2]
        inside[:, :, column, left:right] = there
        inside[:, :, column, :left] = inside[:, :, column, right:] = 0
    return columns


def _evaluate(matrix: np.ndarray, columns: np.ndarray, tiles: Tiles, V: np.ndarray) -> None:
    """Write into V (36, all tiles, C) what the matrix (36, side * side) makes of these tiles."""
    (count, height, J), C = tiles.shape, V.shape[2]
    image, row, column, _, pixel = columns.strides
    shape, strides = (count, height, matrix.shape[1], J * C), (image, TILE * row, column, pixel)
    blocks = np.ndarray(shape, V.dtype, columns, 0, strides)  # they overlap
    out = V[:, tiles.within].reshape(ALL, count, height, J * C).transpose(1, 2, 0, 3)
    # For each row of tiles (36, side*side) (side*side, J*C) -> (36, J*C).
    np.matmul(matrix.astype(V.dtype), blocks, out=out)


def _multiply(left: np.ndarray, right: np.ndarray, out: np.ndarray) -> None:
    """out = left @ right, for each of some pairs of points: of VGG16-GAP's arithmetic four fifths are here."""
    np.matmul(left, right, out=out)


def _interpolate(M: np.ndarray, tiles: Tiles, y: np.ndarray, relu: bool = False) -> None:
    """Write into y (N, H, W, K) what M (36, all tiles, K) gives at these tiles: A^T M A."""
    (count, height, J), (_, H, W, K) = tiles.shape, y.shape
    rows = slice(TILE * tiles.rows.start, min(TILE * tiles.rows.stop, H))
    blocks = M[:, tiles.within].reshape(ALL, count, height, J * K).transpose(1, 2, 0, 3)
    made = scratch("columns", (count, height, TILE, TILE, J, K), M.dtype)
    lines = made.reshape(count, height, TILE * TILE, J * K)
    np.matmul(A2.T.astype(M.dtype), blocks, out=lines)
    if relu:
        np.maximum(lines, np.zeros(J * K, M.dtype), out=lines)  # NumPy is twice as fast with two arrays as with a 0
    made = made.swapaxes(3, 4)  # (images, rows of tiles, 4, J, 4, K)
    fits = (rows.stop - rows.start, W) == (TILE * height, TILE * J)
    out = y[tiles.images, rows].reshape(made.shape) if fits else scratch("pixels", made.shape, M.dtype)
    np.copyto(out, made)
    if not fits:
        y[tiles.images, rows] = out.reshape(count, TILE * height, TILE * J, K)[:, : rows.stop - rows.start, :W]


def _inner_sum(columns: np.ndarray) -> np.ndarray:
    """The sum (K,) over the pixels of tiles, of the columns of their patches (n, rows, 6, J, K)."""
    count, rows, _, J, K = columns[:, 1:-1].shape
    inner = columns[:, 1:-1, 1:-1].reshape(count, rows, TILE * J, K)
    return np.matmul(np.ones((1, TILE * J), inner.dtype), inner).sum((0, 1, 2))
