"""The configuration: defaults that suit the data, values that cannot be, and the file that it is kept in."""

import json
import os

import pytest

from minicam import MinicamError
from minicam.cam import REGIONS
from minicam.config import FIELDS, FOR_VGG16_GAP, THRESHOLDS, Config, default, make


def test_the_defaults_go_with_the_network():
    small, large = make(data="images", network="small_gap"), make(network="vgg16_gap")
    assert (small.size, small.lr, small.weights, small.threshold) == (64, 0.02, None, 0.4)
    assert (large.size, large.lr, large.threshold, large.data) == (224, 4e-4, 0.3, None)
    assert large.weights == os.path.abspath(FOR_VGG16_GAP["weights"])


def test_another_region_has_a_threshold_of_its_own():
    assert make(network="vgg16_gap", region="predicted").threshold == 0.2
    assert make(network="vgg16_gap", region="foreground").threshold == 0.3
    assert make(network="vgg16_gap", region="middle", threshold=0.5).threshold == 0.5
    assert make(region="predicted").threshold == 0.4  # the built-in job's own
    assert make(region="foreground").threshold == 0.3
    assert THRESHOLDS.keys() == REGIONS.keys()


def test_without_data_the_defaults_are_those_of_the_built_in_job():
    assert make() == Config()
    assert make(epochs=None, rates=None) == Config()
    assert Config().network == "small_gap"
    assert Config().weights is None


def test_with_data_they_are_those_for_ones_own():
    config = make(data="images")
    for name in FIELDS:
        expected = "images" if name == "data" else FOR_VGG16_GAP.get(name, getattr(Config(), name))
        assert getattr(config, name) == (os.path.abspath(expected) if name in ("data", "weights") else expected), name
    assert config.network == "vgg16_gap"
    assert config.size == 224


def test_what_is_given_counts_more_than_a_default():
    config = make(data="images", size=33, rates={}, square=False, lr=0.5)
    assert (config.size, config.rates, config.square, config.lr) == (33, {}, False, 0.5)
    assert config.epochs == FOR_VGG16_GAP["epochs"]


def test_the_weights_none_are_no_weights():
    assert make(data="images", weights="none").weights is None
    assert make(weights="none").weights is None


def test_paths_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = make(data="images", weights="../file.h5")
    assert (config.data, config.weights) == (str(tmp_path / "images"), str(tmp_path.parent / "file.h5"))
    assert make(weights="file.h5").data is None


@pytest.mark.parametrize("name", FIELDS)
def test_default_says_what_make_does(name):
    assert default(name, own_data=False) == getattr(make(), name)
    if name != "data":
        expected = default(name, own_data=True)
        assert getattr(make(data="images"), name) == (os.path.abspath(expected) if name == "weights" else expected)


def test_the_defaults_for_own_data_name_fields_and_layers_that_there_are():
    from minicam.model import NETWORKS

    assert FOR_VGG16_GAP.keys() <= set(FIELDS)
    params = NETWORKS[FOR_VGG16_GAP["network"]]().params()
    layers = {name.split("/")[0] for name in params}
    assert set(FOR_VGG16_GAP["rates"]) <= layers | params.keys()


def test_saved_and_loaded_it_is_the_same(tmp_path):
    config = make(data="images", augment=("flip", "colour"), rates={"CAM_fc": 3.0}, limit=7, train_from="CAM_conv")
    (tmp_path / "config.json").write_text(config.text())
    assert Config.load(tmp_path / "config.json") == config
    assert json.loads((tmp_path / "config.json").read_text()).keys() == set(FIELDS)


def test_the_crop_rule_is_made_of_its_parts():
    rule = Config(threshold=0.3, padding=0.25, minimum=0.4, square=False).crop_rule
    assert (rule.threshold, rule.padding, rule.minimum, rule.square) == (0.3, 0.25, 0.4, False)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"schedule": "linear"}, "--schedule is linear; it must be one of constant, cosine, step"),
        ({"stage2_from": "stage2"}, "--stage2-from is stage2; it must be stage1 or start"),
        ({"augment": ("flip", "spin")}, "augmentation 'spin' is not known; choose from"),
        ({"train_from": "x", "batch": 0}, "--batch is 0; it must be at least 1"),
        ({"rates": {"CAM_fc": float("inf")}}, "--rates is {'CAM_fc': inf}; it must be factors of 0 or more"),
    ],
)
def test_values_that_cannot_be(values, said):
    with pytest.raises(MinicamError) as caught:
        Config(**values)
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"batch": 2.5}, "--batch is 2.5; it must be a whole number"),
        ({"batch": True}, "--batch is True; it must be a whole number"),
        ({"limit": "7"}, "--limit is 7; it must be a whole number"),
        ({"lr": "x"}, "--lr is x; it must be a number"),
        ({"lr": None}, "--lr is None; it must be a number"),
        ({"square": 1}, "--square is 1; it must be true or false"),
        ({"network": None}, "--network is None; it must be text"),
        ({"data": 3}, "--data is 3; it must be text"),
        ({"rates": [1]}, "--rates is [1]; it must be names with a number each"),
        ({"rates": {"CAM_fc": "x"}}, "--rates is {'CAM_fc': 'x'}; it must be names with a number each"),
        ({"augment": (1,)}, "--augment is (1,); it must be a list of names"),
        ({"augment": "flip"}, "--augment is flip; it must be a list of names"),
    ],
    ids=str,
)
def test_values_of_another_type(values, said):
    with pytest.raises(MinicamError) as caught:
        Config(**values)
    assert str(caught.value) == said


def test_a_whole_number_is_a_number():
    assert Config(lr=1, limit=None, rates={"CAM_fc": 2}).lr == 1


def test_it_cannot_be_changed():
    with pytest.raises(AttributeError):
        Config().lr = 3
