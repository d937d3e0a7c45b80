"""Lesson 1, images are arrays."""

import numpy as np
from sklearn.metrics import balanced_accuracy_score

from course.exercise import case, exercise
from minicam.model import MEAN_BGR
from minicam.ops import warp


@exercise
def crop():
    """Rows are y and come first: image[y0:y1, x0:x1]."""
    rng = np.random.default_rng(11)
    for shape, box, hint in [
        ((6, 8), (2, 1, 5, 5), "The width is x1 - x0: column x1 is not inside."),
        ((6, 8, 3), (0, 2, 8, 3), "The end is not inside: this box is one row high."),
        ((5, 4, 3), (1, 2, 9, 7), "What lies beyond the right or lower edge is left out."),
        ((7, 6, 3), (-2, -3, 4, 5), "An index of -3 is the third from the end. A box that starts there starts at 0."),
        ((7, 6), (3, -1, 20, 20), "An index of -1 is the last."),
        ((5, 6), (-4, 1, -1, 4), "This box lies beyond the left edge: its end is negative, too."),
    ]:
        image, (x0, y0, x1, y1) = rng.integers(0, 256, shape, np.uint8), box
        rows = [i for i in range(shape[0]) if y0 <= i < y1]
        columns = [j for j in range(shape[1]) if x0 <= j < x1]
        yield case(image, box, gives=image[rows][:, columns], hint=hint)


@exercise
def balanced_accuracy():
    """For one class k: of the images with labels == k, for which share is said == k? Then the mean of these shares."""
    labels = np.array([0] * 6 + [1] * 2 + [2] * 2)
    yield case(labels, np.zeros(10, int), gives=1 / 3, hint="Always 0: class 0 is all right, the other two all wrong.")
    yield case(labels, np.array([0, 0, 0, 1, 1, 2, 1, 0, 2, 2]), gives=(1 / 2 + 1 / 2 + 1) / 3)
    yield case(np.array([1, 1, 2, 2]), np.array([1, 1, 0, 2]), gives=3 / 4, hint="Class 0 does not occur in labels.")
    rng = np.random.default_rng(12)
    for N, K in [(50, 3), (80, 5)]:
        labels, said = np.arange(N) % K * (rng.random(N) < 0.6), rng.integers(0, K, N)
        yield case(labels, said, gives=balanced_accuracy_score(labels, said))


@exercise
def sample():
    """Column j has its centre at x = j + 1/2. Along each row at x you get a column of H numbers; then down it at y."""
    image = np.array([[10.0, 40], [20, 80]])
    yield case(image, 0.5, 0.5, gives=10, hint="The centre of the first pixel: its own value.")
    yield case(image, 1.5, 0.5, gives=40, hint="x is across: this is the pixel to the right.")
    yield case(image, 1.0, 1.0, gives=37.5, hint="The middle of four pixels is their mean.")
    yield case(image, 0.1, 1.9, gives=20, hint="Beyond the outermost centres the edge repeats.")
    rng = np.random.default_rng(13)
    for H, W in [(3, 5), (6, 4)]:
        image = rng.uniform(0, 255, (H, W))
        for x, y in rng.uniform(0, (W, H), (4, 2)).tolist():
            to_point = np.array([[[1, 0, x - 0.5], [0, 1, y - 0.5]]])  # from the one output pixel's centre to the point
            found = warp.forward_naive(image[None, ..., None], to_point, (1, 1), dtype=np.float64)
            yield case(image, x, y, gives=found.item())


@exercise
def turn_about():
    """The first two columns are those about the origin. They take (x, y) somewhere; the last column brings it back."""
    yield case(0.0, 0.0, np.pi / 6, gives=np.array([[np.sqrt(3) / 2, -0.5, 0], [0.5, np.sqrt(3) / 2, 0]]))
    yield case(3.0, 5.0, 0.0, gives=np.eye(2, 3), hint="An angle of 0 leaves everything where it is.")
    yield case(2.0, 2.0, np.pi / 2, gives=np.array([[0, -1, 4], [1, 0, 0]]), hint="A quarter turn of 4 x 4 pixels.")
    rng = np.random.default_rng(14)
    picture = rng.uniform(0, 255, (1, 6, 6, 1))
    quarter = np.rot90(picture[0, :, :, 0])
    yield case(3.0, 3.0, np.pi / 2, holds=lambda A: _turns(A, picture, quarter), hint="It must do what np.rot90 does.")
    for x, y, angle in rng.uniform(-3, 3, (3, 3)).tolist():
        there, back = np.array([[1, 0, -x], [0, 1, -y], [0, 0, 1]]), np.array([[1, 0, x], [0, 1, y], [0, 0, 1]])
        turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
        yield case(x, y, angle, gives=(back @ turn @ there)[:2])


def _turns(A: np.ndarray, picture: np.ndarray, expected: np.ndarray) -> bool:
    A = np.asarray(A, np.float64)
    if A.shape != (2, 3):
        return False
    return np.allclose(warp.forward_naive(picture, A[None], (6, 6))[0, :, :, 0], expected, atol=1e-3)


@exercise
def batch_for_vgg16():
    """The channel is the last axis. The result is float32 if both the pixels and the mean are."""
    rng = np.random.default_rng(15)
    red = np.zeros((1, 1, 3), np.uint8)
    red[..., 0] = 255
    wanted = np.array([-103.939, -116.779, 255 - 123.68]).reshape(1, 1, 1, 3)
    yield case([red], gives=wanted, hint="One pixel, pure red. In BGR, red is channel 2.")
    for N, H, W in [(3, 4, 5), (1, 2, 2), (2, 3, 3)]:
        images = list(rng.integers(0, 256, (N, H, W, 3), np.uint8))
        x = np.stack(images).astype(np.float64)
        gives = np.stack([x[..., 2] - MEAN_BGR[0], x[..., 1] - MEAN_BGR[1], x[..., 0] - MEAN_BGR[2]], axis=-1)
        yield case(images, gives=gives)
        is_float32 = "The numbers are right; the type must be float32. A mean in float64 makes the result float64."
        yield case(images, holds=lambda x: getattr(x, "dtype", None) == np.float32, hint=is_float32)
