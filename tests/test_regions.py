"""Where to crop: the rules that choose the map, and the foreground that is learned without a label."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from minicam import MinicamError, backend, cam, evaluate, explain, train
from minicam.config import Config
from minicam.data.synthetic import load
from minicam.inference import learn_foreground, loader_for, locate, look, mean_box_iou
from minicam.model import small_gap
from minicam.run import Run


@pytest.fixture
def seen(rng):
    p = rng.random((3, 4))
    return cam.Seen(p / p.sum(1, keepdims=True), rng.standard_normal((3, 6, 5, 4)), rng.random((3, 8, 7, 2)))


def region(seen, name, **fields):
    return cam.region_of(seen, cam.CropRule(region=name, **fields))


def test_predicted_is_the_map_of_the_most_probable_class(seen):
    maps = [maps[..., k] for maps, k in zip(seen.maps, seen.probabilities.argmax(1), strict=True)]
    np.testing.assert_array_equal(region(seen, "predicted"), maps)


def test_centred_is_its_positive_part_and_less_the_farther_out(seen):
    plain, centred = region(seen, "predicted"), region(seen, "centred")
    assert (centred[plain <= 0] == 0).all()
    ratio = centred[0][plain[0] > 0] / plain[0][plain[0] > 0]
    y, x = np.nonzero(plain[0] > 0)
    distance = ((x + 0.5) / 5 - 0.5) ** 2 + ((y + 0.5) / 6 - 0.5) ** 2
    np.testing.assert_allclose(ratio, np.exp(-distance / (2 * 0.3**2)), rtol=1e-6)


def test_evidence_adds_what_speaks_for_any_class(seen):
    expected = sum(np.where(seen.maps[..., k] > 0, seen.maps[..., k], 0) for k in range(4))
    np.testing.assert_allclose(region(seen, "evidence"), expected)


def test_energy_adds_all_features_and_looks_to_the_middle(seen):
    expected = (seen.pooled[..., 0] + seen.pooled[..., 1]) * cam.centre_prior(8, 7)
    np.testing.assert_allclose(region(seen, "energy"), expected, rtol=1e-6)


def test_rules_that_need_what_is_not_there_say_so(seen):
    above = cam.Seen(seen.probabilities, seen.maps, None)
    for name in cam.REGIONS:
        if name in ("energy", "foreground"):
            with pytest.raises(MinicamError, match=f"--region {name} looks at what comes out of the last pooling"):
                region(above, name)
        else:
            region(above, name)


def lesions(rng, N=60, side=14, C=12):
    """Features of images: skin, a lesion somewhere about the middle, and in every third a sticker at the rim.

    Skin differs from image to image more than a lesion does from its skin. Returns them, and the lesions' masks.
    """
    skin, lesion, sticker = rng.standard_normal((3, C))
    features = 3 * rng.standard_normal((N, 1, 1, C)) * np.abs(skin) + 0.5 * rng.standard_normal((N, side, side, C))
    y, x = np.mgrid[:side, :side]
    masks = np.empty((N, side, side), bool)
    for n in range(N):
        (cy, cx), radius = rng.uniform(0.35, 0.65, 2) * side, rng.uniform(2, 4)
        masks[n] = (y + 0.5 - cy) ** 2 + (x + 0.5 - cx) ** 2 < radius**2
        features[n][masks[n]] += lesion
        if n % 3 == 0:
            features[n, 9:, 9:] += 4 * sticker * ~masks[n, 9:, 9:, None]
    return features.astype(np.float32), masks


def overlap(maps, masks):
    heats = maps / maps.max((1, 2), keepdims=True) > 0.4
    return np.mean((heats & masks).sum((1, 2)) / (heats | masks).sum((1, 2)))


def test_the_foreground_is_learned_from_images_alone(rng):
    features, masks = lesions(rng)
    others, other_masks = lesions(np.random.default_rng(5), N=30)  # another kind of lesion
    weights = cam.learn_foreground(features)
    assert (weights.shape, weights.dtype) == ((12,), np.float32)
    maps = cam.foreground_maps(features, weights)
    hits = [mask[np.unravel_index(m.argmax(), m.shape)] for m, mask in zip(maps, masks, strict=True)]
    assert np.mean(hits) > 0.95
    assert overlap(maps, masks) > 0.6
    middle = np.broadcast_to(cam.centre_prior(14, 14), masks.shape)
    assert overlap(maps, masks) > overlap(middle, masks) + 0.2
    own = cam.foreground_maps(others, cam.learn_foreground(others))
    assert overlap(own, other_masks) > overlap(cam.foreground_maps(others, weights), other_masks) + 0.2


def test_the_number_of_threads_changes_no_bit_of_what_is_learned(rng):
    features = np.maximum(rng.standard_normal((24, 14, 14, 512), np.float32), 0)
    features[:, 4:10, 4:10, :50] += 1
    results = set()
    try:
        for count in (1, 2, 3, 4):
            backend.set_threads(count)
            results.add(cam.learn_foreground(features, rounds=1).tobytes())
    finally:
        backend.set_threads(None)
    assert len(results) == 1


def test_equations_are_solved_on_one_thread_of_blas(rng, monkeypatch):
    """What that changes, float32 may hide."""
    solve, inside = np.linalg.solve, []
    monkeypatch.setattr(np.linalg, "solve", lambda a, b: inside.append(backend._inside) or solve(a, b))
    cam.learn_foreground(lesions(rng)[0], rounds=1)
    assert inside == [1, 1]  # blocks of `blas_on_one_thread`


def test_rounds_make_it_better(rng):
    features, masks = lesions(rng)
    first, last = (cam.foreground_maps(features, cam.learn_foreground(features, rounds)) for rounds in (0, 6))
    assert overlap(last, masks) > overlap(first, masks)


def test_the_discriminant_is_fishers(rng):
    mixing = rng.standard_normal((5, 5))
    a, b = (rng.standard_normal((4000, 5)) @ mixing + shift for shift in (rng.standard_normal(5), 0))
    within = (np.cov(a.T, bias=True) + np.cov(b.T, bias=True)) / 2
    within += 0.01 * np.trace(within) / 5 * np.eye(5)
    np.testing.assert_allclose(within @ cam.discriminant(a, b), a.mean(0) - b.mean(0), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("features", [np.ones((2, 2, 2, 3), np.float32), np.ones((2, 8, 8, 3), np.float32)])
def test_nothing_is_learned_from_maps_too_small_or_even(features):
    with pytest.raises(MinicamError, match="these images show no foreground"):
        cam.learn_foreground(features)


@pytest.mark.parametrize("side", range(4, 30))
def test_maps_of_every_side_from_four_on_have_a_middle_and_a_ring(rng, side):
    assert np.isfinite(cam.learn_foreground(rng.random((3, side, side, 4), np.float32))).all()


def test_a_network_hands_out_what_comes_out_of_its_last_pooling(rng):
    network = small_gap()
    entered = [rng.standard_normal((2, 16, 16, 3)).astype(np.float32)]
    for layer in network.layers[:-1]:
        entered.append(layer.forward(entered[-1]))
    above = [layer.name for layer in network.layers].index("block2_pool") + 1
    for start, x in enumerate(entered):
        network.forward(x, start=start)
        if start <= above:
            np.testing.assert_array_equal(network.pooled, entered[above])
        else:
            assert network.pooled is None
    network.forward(entered[0])
    network.forget()
    assert network.pooled is None


def test_a_run_learns_its_foreground_once_and_keeps_it(tmp_path, capsys):
    folder = tmp_path / "run"
    options = f"--limit 24 --epochs 1 --size 32 --batch 8 --region foreground --threshold 0.5 --out {folder}"
    assert train.main(options.split()) == 0
    run, config = Run.open(folder), Config(size=32, batch=8, limit=24)
    rule, network = run.crop_rule(), run.trained(1).network
    training, validation = train.open_data(run.config)
    again = learn_foreground(network, loader_for(network, training, config, 1, 2))
    np.testing.assert_array_equal(rule.foreground, again)
    crops = run.read_crops(validation)
    ((_, seen),) = look(network, loader_for(network, validation.subset(np.arange(4)), config, 1, 2))
    heats = cam.normalise(cam.upsample(cam.region_of(seen, rule), (32, 32)))
    for crop, heat in zip(crops, heats, strict=False):
        assert tuple(crop) == cam.boxes_of(heat, validation.shape(0), rule)[1]
    summary = json.loads((folder / "summary.json").read_text())

    assert evaluate.main([str(folder), "--split", "validation", "--limit", "24"]) == 0
    again = json.loads((folder / "evaluation_validation_limit_24" / "summary.json").read_text())
    assert again["stage2"] == summary["stage2"]
    Image.new("RGB", (40, 30)).save(tmp_path / "image.png")
    assert explain.main([str(folder), str(tmp_path / "image.png"), "--out", str(tmp_path / "out")]) == 0
    (folder / "foreground.npy").write_bytes(b"")
    assert explain.main([str(folder), str(tmp_path / "image.png"), "--out", str(tmp_path / "other")]) == 2
    assert evaluate.main([str(folder), "--split", "validation"]) == 2
    assert "foreground.npy, by which stage 1 finds what to crop, cannot be read" in capsys.readouterr().err


def test_a_run_that_goes_on_keeps_its_foreground(tmp_path, monkeypatch, stop_after):
    folder = tmp_path / "run"
    options = f"--limit 24 --epochs 1 --size 32 --batch 8 --region foreground --threshold 0.5 --out {folder}"
    stop_after(2, 1)
    assert train.main(options.split()) == 130
    before = (folder / "foreground.npy").read_bytes()
    monkeypatch.setattr(train, "learn_foreground", None)
    assert train.main(["--resume", str(folder)]) == 0
    assert (folder / "foreground.npy").read_bytes() == before


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ("--size 15", "--size is 15; small_gap with --region foreground needs at least 16"),
        ("--train-from CAM_conv --cache-features {}", "--region foreground looks at what comes out of the last"),
    ],
)
def test_what_the_region_cannot_do_is_told_before_a_run_begins(options, line, tmp_path, capsys):
    folder = tmp_path / "run"
    options = f"--limit 12 --region foreground --out {folder} {options.format(tmp_path / 'cache')}"
    assert train.main(options.split()) == 2
    assert line in capsys.readouterr().err
    assert not folder.exists()


@pytest.mark.parametrize("weights", [np.zeros(3, np.float32), np.zeros(32), np.full(32, np.nan, np.float32), None])
def test_a_foreground_that_is_not_the_runs_own(weights, tmp_path, small_run, capsys):
    folder = shutil.copytree(small_run, tmp_path / "run")
    config = json.loads((folder / "config.json").read_text()) | {"region": "foreground"}
    (folder / "config.json").write_text(json.dumps(config))
    if weights is not None:
        np.save(folder / "foreground.npy", weights)
    assert evaluate.main([str(folder), "--split", "validation", "--limit", "3"]) == 2
    line = capsys.readouterr().err
    assert "foreground.npy" in line
    assert line.count("\n") == 1
    assert ("is missing; make it anew" in line) == (weights is None)


def test_a_run_on_a_fold_and_the_fold_scored_again(tmp_path, capsys):
    folder = tmp_path / "run"
    assert train.main(f"--limit 24 --epochs 1 --size 16 --batch 8 --fold 1 --out {folder}".split()) == 0
    assert evaluate.main(f"{folder} --split training --fold --limit 24".split()) == 0
    again = folder / "evaluation_training_fold_1_limit_24"
    for name in ("predictions_stage1.csv", "predictions_stage2.csv"):
        assert (again / name).read_bytes() == (folder / name).read_bytes()
    for options in ("--split validation --fold", f"--split training --fold --data {tmp_path}"):
        assert evaluate.main([str(folder), *options.split()]) == 2
        assert "--fold goes with --split training and the run's own images" in capsys.readouterr().err


def test_the_built_in_lesions_are_found_by_a_network_that_has_learned_nothing():
    network, config = small_gap(), Config()
    training, validation = load("training", count=60), load("validation", count=30)
    weights = learn_foreground(network, loader_for(network, training, config, 1, 2))
    rule = cam.CropRule(0.4, region="foreground", foreground=weights)
    located = locate(network, loader_for(network, validation, config, 1, 2), rule)
    assert mean_box_iou(validation, located.boxes) > 0.5
    predicted = locate(network, loader_for(network, validation, config, 1, 2), cam.CropRule(0.4))
    assert mean_box_iou(validation, predicted.boxes) < 0.4  # CAM_fc is 0 yet: the whole image
