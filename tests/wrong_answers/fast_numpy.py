"""Lesson 11: plausible, and wrong."""

import numpy as np


def product_by_points__highest_first(g, h, points):
    powers = np.vander(points, len(points))
    values = (powers[:, : len(g)] @ g) * (powers[:, : len(h)] @ h)
    return np.linalg.solve(powers, values)


def product_by_points__does_not_interpolate(g, h, points):
    powers = np.vander(points, len(points), increasing=True)
    return (powers[:, : len(g)] @ g) * (powers[:, : len(h)] @ h)


def winograd_row__no_overlap(x, g, A, B, G):
    n, m = A.shape
    count = len(x) - 2
    x = np.pad(x, (0, -len(x) % n + n * (-(-count // m))))
    d = x[: n * (-(-count // m))].reshape(-1, n)
    return (((d @ B.T) * (G @ g)) @ A).ravel()[:count]


def winograd_row__drops_the_last_tile(x, g, A, B, G):
    n, m = A.shape
    d = np.lib.stride_tricks.sliding_window_view(np.pad(x, (0, max(0, n - len(x)))), n)[::m]
    return (((d @ B.T) * (G @ g)) @ A).ravel()[: len(x) - 2]


def winograd_row__not_by_the_matrices(x, g, A, B, G):
    return np.correlate(x, g, "valid")


def from_points__tiles_in_a_row(M, A, N, H, W):
    (n, m), K = A.shape, M.shape[2]
    y = np.einsum("ai,bj,abtk->tijk", A, A, M.reshape(n, n, -1, K))
    return y.reshape(N, -(-H // m) * m, -(-W // m) * m, K)[:, :H, :W]


def from_points__points_exchanged(M, A, N, H, W):
    (n, m), K = A.shape, M.shape[2]
    M = M.reshape(n, n, N, -(-H // m), -(-W // m), K)
    y = np.einsum("bi,aj,abnpqk->npiqjk", A, A, M)
    return y.reshape(N, y.shape[1] * m, -1, K)[:, :H, :W]


def share_of_multiplications__whole_tiles_only(side, m, r):
    return (side / m * (m + r - 1)) ** 2 / (side * r) ** 2


def share_of_multiplications__one_direction(side, m, r):
    return -(-side // m) * (m + r - 1) / (side * r)


def fair_ratio__one_after_the_other(clock, ours, theirs, repeats):
    mine = [clock(ours) for _ in range(repeats + 1)][1:]
    other = [clock(theirs) for _ in range(repeats + 1)][1:]
    return np.median(mine) / np.median(other)


def fair_ratio__means(clock, ours, theirs, repeats):
    seconds = np.array([(clock(ours), clock(theirs)) for _ in range(repeats + 1)][1:])
    return seconds[:, 0].mean() / seconds[:, 1].mean()


def fair_ratio__median_of_ratios(clock, ours, theirs, repeats):
    return np.median([clock(ours) / clock(theirs) for _ in range(repeats + 1)][1:])


def fair_ratio__counts_the_first(clock, ours, theirs, repeats):
    seconds = np.array([(clock(ours), clock(theirs)) for _ in range(repeats)])
    return np.median(seconds[:, 0]) / np.median(seconds[:, 1])


def fair_ratio__last_round(clock, ours, theirs, repeats):
    return [clock(ours) / clock(theirs) for _ in range(repeats + 1)][-1]


def fair_ratio__smallest(clock, ours, theirs, repeats):
    seconds = np.array([(clock(ours), clock(theirs)) for _ in range(repeats + 1)][1:])
    return seconds[:, 0].min() / seconds[:, 1].min()


def fair_ratio__more_rounds(clock, ours, theirs, repeats):
    seconds = np.array([(clock(ours), clock(theirs)) for _ in range(repeats + 5)][1:])
    return np.median(seconds[:, 0]) / np.median(seconds[:, 1])
