"""The built-in data: what is promised of it, whatever its pictures look like."""

import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from minicam.data import paint, synthetic
from minicam.metrics import auc

MANY = 150
# A scorer that knows nothing has an AUC of 0.5 with a standard error of 0.048 (50 of 150 images positive; Hanley and
# McNeil, 1982): 0.65 is 3.1 of these.
KNOWS_NOTHING = 0.15


@pytest.fixture(scope="module")
def dataset():
    return synthetic.load("training", seed=3, count=MANY)


@pytest.fixture(scope="module")
def measured(dataset):
    """Of every image what must not tell its class: tone and light of the skin, place and area of the lesion."""
    rows = []
    for i in range(MANY):
        image, mask = dataset.image(i), dataset.mask(i)
        skin, (down, across) = np.median(image[~mask], 0), np.nonzero(mask)
        rows.append((*skin, across.mean(), down.mean(), np.sqrt(mask.sum())))
    return dict(zip(("red", "green", "blue", "x", "y", "size"), np.array(rows).T, strict=True))


@pytest.mark.parametrize("name", ["red", "green", "blue", "x", "y", "size"])
def test_skin_position_and_size_vary_independently_of_the_class(name, measured, dataset):
    values = measured[name]
    for k in range(3):
        assert abs(auc(dataset.labels == k, values) - 0.5) < KNOWS_NOTHING, synthetic.CLASSES[k]
    assert values.std() > {"size": 10, "x": 25, "y": 25}.get(name, 8)


def test_a_picture_depends_on_seed_split_and_number_alone(dataset):
    paint_again = synthetic._draw.__wrapped__  # not from the cache
    for i in (0, 7):
        image, mask = paint_again(synthetic.CLASSES[dataset.labels[i]], (3, 0, i + 1))
        np.testing.assert_array_equal(image, dataset.image(i))
        np.testing.assert_array_equal(mask, dataset.mask(i))
    assert synthetic.load("training", 3, 20).ids == dataset.ids[:20]


def test_other_seeds_splits_and_numbers_are_other_pictures():
    """Also those that share their class, and so could be the same."""
    sets = [synthetic.load(split, seed) for seed in (3, 4) for split in synthetic.SIZES]
    for one, other in itertools.combinations(sets, 2):
        i = np.flatnonzero(one.labels[:100] == other.labels[:100])[0]
        assert np.abs(one.image(i).astype(int) - other.image(i)).mean() > 1
    first, second = np.flatnonzero(sets[0].labels == 1)[:2]
    assert np.abs(sets[0].image(first).astype(int) - sets[0].image(second)).mean() > 1


def test_subsets_keep_their_pictures(dataset):
    part = dataset.subset(np.array([9, 2, 5])).subset(np.array([2, 0]))
    assert part.ids == (dataset.ids[5], dataset.ids[9])
    assert part.labels.tolist() == dataset.labels[[5, 9]].tolist()
    np.testing.assert_array_equal(part.image(0), dataset.image(5))
    np.testing.assert_array_equal(part.mask(1), dataset.mask(9))


@pytest.mark.parametrize("split", synthetic.SIZES)
def test_classes_are_in_equal_shares_and_shuffled(split):
    dataset = synthetic.load(split, 3)
    assert len(dataset) == synthetic.SIZES[split] == len(set(dataset.ids))
    counts = np.bincount(dataset.labels, minlength=3)
    assert counts.max() - counts.min() <= 1
    assert dataset.labels.dtype == np.int64
    assert dataset.labels[:12].tolist() != synthetic.load(split, 4).labels[:12].tolist()
    assert dataset.tasks == ("melanoma", "seborrheic_keratosis")
    assert all(f"{split}_" in name for name in dataset.ids)


def test_images_are_large_and_masks_are_theirs(dataset):
    for i in range(6):
        image, mask = dataset.image(i), dataset.mask(i)
        assert (image.shape, image.dtype) == ((*dataset.shape(i), 3), np.uint8)
        assert (mask.shape, mask.dtype) == (dataset.shape(i), bool)
        assert min(mask.shape) >= 384
        assert 0.01 < mask.mean() < 0.4


def test_lesions_lie_inside_the_image(dataset):
    for i in range(40):
        mask = dataset.mask(i)
        edges = mask[0].sum() + mask[-1].sum() + mask[:, 0].sum() + mask[:, -1].sum()
        assert edges < 0.1 * np.sqrt(mask.sum()), i


@pytest.mark.parametrize("label", synthetic.CLASSES)
def test_a_lesion_changes_the_picture_inside_its_mask_and_its_soft_border_only(label):
    from scipy.ndimage import binary_dilation, binary_erosion

    for seed in range(8):
        rng = np.random.default_rng([seed, 1])
        before = paint.skin(rng)
        after = before.copy()
        mask = paint.lesion(after, label, rng)
        change = np.abs(after - before).max(2)
        assert change[~binary_dilation(mask, iterations=25)].max() < 8
        inside = change[binary_erosion(mask, iterations=12)]
        assert np.median(inside) > 15
        assert np.quantile(inside, 0.02) > 4


def plain_picture(value=160):
    return np.full((paint.SIDE, paint.SIDE, 3), value, np.float32)


def changed(picture):
    return np.abs(picture - plain_picture()).max(2) > 10


def test_hairs_are_thin_and_dark():
    picture = plain_picture()
    paint.hairs(picture, 8, np.random.default_rng(1))
    assert 0.002 < changed(picture).mean() < 0.1
    assert picture.max() <= 160
    same = plain_picture()
    paint.hairs(same, 0, np.random.default_rng(1))
    assert not changed(same).any()


def test_a_ruler_lies_along_one_edge():
    for seed in range(8):
        picture = plain_picture()
        paint.ruler(picture, np.random.default_rng(seed))
        down, across = np.nonzero(changed(picture))
        reach = min(down.max(), across.max(), paint.SIDE - 1 - down.min(), paint.SIDE - 1 - across.min())
        assert 10 < reach < 40


def test_a_sticker_has_a_colour_and_never_covers_the_lesion():
    painted = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        mask = paint.lesion(plain_picture(), "nevus", rng)
        picture = plain_picture()
        paint.sticker(picture, mask, rng)
        painted += changed(picture).any()
        assert not (changed(picture) & mask).any()
        if changed(picture).any():
            assert np.ptp(picture, axis=2).max() > 60
    assert painted > 5


def test_a_bubble_is_small_and_bright():
    for seed in range(8):
        picture = plain_picture()
        paint.gel_bubble(picture, np.random.default_rng(seed))
        assert picture.min() >= 160
        assert 0 < changed(picture).mean() < 0.02


def test_distractions_come_and_go_and_leave_some_pictures_alone():
    empty = np.zeros((paint.SIDE, paint.SIDE), bool)
    share = []
    for seed in range(40):
        picture = plain_picture()
        paint.distract(picture, empty, np.random.default_rng(seed))
        share.append(changed(picture).mean())
    assert sum(s == 0 for s in share) >= 2
    assert sum(s > 0.001 for s in share) >= 20
    assert sum(s > 0.15 for s in share) >= 3  # the dark corners


@pytest.mark.parametrize(("size", "factor"), [(384, 1), (193, 1), (192, 2), (96, 4), (48, 8), (5, 8), (None, 1)])
def test_reduced_images_are_means_of_blocks(size, factor, dataset):
    image, mine = dataset.image(4), dataset.image(4, size)
    side = 384 // factor
    assert mine.shape == (side, side, 3)
    means = np.array([[image[i::factor, j::factor] for j in range(factor)] for i in range(factor)]).mean((0, 1))
    assert np.abs(mine - means).max() <= 0.5


def test_a_small_box_keeps_its_detail(dataset):
    assert dataset.image(4, 64, (100, 100, 228, 228)).shape[0] == 192
    assert dataset.image(4, 64, (100, 100, 227, 228)).shape[0] == 384


def test_what_is_shared_cannot_be_written_to(dataset):
    for array in (dataset.image(0), dataset.mask(0)):
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0] = 1


def test_threads_draw_what_one_thread_draws():
    """Nothing of the painting is shared between pictures."""
    draw = synthetic._draw.__wrapped__
    cases = [(synthetic.CLASSES[i % 3], (9, 0, i)) for i in range(8)]
    alone = [draw(*case) for case in cases]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda case: draw(*case), cases))
    for (image, mask), (other, other_mask) in zip(alone, together, strict=True):
        np.testing.assert_array_equal(image, other)
        np.testing.assert_array_equal(mask, other_mask)


def test_images_are_known_by_their_numbers_and_seed():
    sets = [synthetic.load(split, seed, 9) for split in ("training", "validation") for seed in (0, 1)]
    identities = [data.identity(i) for data in sets for i in range(9)]
    assert len(set(identities)) == len(identities)
    part = sets[0].subset(np.array([4, 2]))
    assert [part.identity(i) for i in range(2)] == [sets[0].identity(4), sets[0].identity(2)]
