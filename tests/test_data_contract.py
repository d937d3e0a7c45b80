"""`limit`: which images stay when a data set is cut down."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minicam import MinicamError
from minicam.data import limit

label_lists = st.lists(st.sampled_from([-1, 0, 1, 2]), min_size=1, max_size=40).map(np.array)


@settings(deadline=None)
@given(label_lists, st.integers(1, 50))
def test_limit_keeps_as_many_as_asked_in_order_and_every_class(labels, count):
    kept = limit(labels, count)
    assert len(kept) == min(count, len(labels))
    assert np.all(np.diff(kept) > 0)
    if count >= len(set(labels)):
        assert set(labels[kept]) == set(labels)


@settings(deadline=None)
@given(label_lists, st.integers(1, 50))
def test_limit_takes_even_steps_through_each_class(labels, count):
    kept = limit(labels, count)
    for c in set(labels):
        places = np.flatnonzero(np.isin(np.flatnonzero(labels == c), kept))  # among the images of the class
        step = np.sum(labels == c) / max(len(places), 1)
        assert all(i * step - 1 < place <= i * step for i, place in enumerate(places))


@settings(deadline=None)
@given(label_lists, st.integers(1, 39))
def test_no_other_division_is_nearer_to_the_shares(labels, count):
    """Of all ways to divide `count` that keep every class where they can, none has a smaller sum of squares."""
    count = min(count, len(labels))
    classes, sizes = np.unique(labels, return_counts=True)
    share = count * sizes / len(labels)
    least = 1 if count >= len(classes) else 0
    ways = itertools.product(*(range(least, size + 1) for size in sizes))
    best = min(np.square(np.array(way) - share).sum() for way in ways if sum(way) == count)
    kept = labels[limit(labels, count)]
    found = np.square([np.sum(kept == c) - s for c, s in zip(classes, share, strict=True)]).sum()
    assert found == pytest.approx(best, abs=1e-9)


def test_isic_cut_to_200_keeps_its_proportions():
    # the shares are 137.2, 37.4 and 25.4
    labels = np.repeat([0, 1, 2], [1372, 374, 254])
    np.testing.assert_array_equal(np.bincount(labels[limit(labels, 200)]), [137, 38, 25])


@pytest.mark.parametrize("count", [0, -3])
def test_a_limit_that_leaves_nothing_is_refused(count):
    with pytest.raises(MinicamError, match=f"a limit of {count} images leaves none; give 1 or more"):
        limit(np.array([0, 1]), count)
