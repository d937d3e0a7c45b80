"""What the lessons do with places of real images and weights that are not there, or cannot be used."""

from dataclasses import replace

import numpy as np
import pytest
from lessons_on_disk import ROOT

from course import real
from minicam.data import synthetic
from minicam.data.loader import Loader
from minicam.model import small_gap
from minicam.weights import keras

ON = "The lesson goes on with what is built in."


def forget():
    real.weights_file.cache_clear()
    real._isic.cache_clear()


@pytest.fixture
def places(monkeypatch):
    """Name places: `places(ISIC=folder)`."""

    def name(**variables):
        for variable in ("WEIGHTS", "ISIC"):
            monkeypatch.delenv(f"MINICAM_{variable}", raising=False)
        for variable, place in variables.items():
            monkeypatch.setenv(f"MINICAM_{variable}", str(place))
        forget()

    yield name
    forget()


def test_a_place_named_as_nothing_hides_what_is_there(places, capsys):
    places(WEIGHTS="", ISIC="")
    assert real.weights_file() is real.vgg16() is real.photographs() is None
    assert len(real.lesions("training", count=6).labels) == 6
    assert capsys.readouterr().out == ""


def test_the_usual_places_need_not_be_there(places, monkeypatch, tmp_path, capsys):
    places()
    monkeypatch.setattr(real, "ROOT", tmp_path)
    assert real.weights_file() is real.photographs() is None
    assert capsys.readouterr().out == ""


def test_a_named_place_that_is_not_there_is_said_once(places, capsys):
    places(WEIGHTS="no/such.h5", ISIC="no_such_folder")
    assert real.weights_file() is real.vgg16() is real.photographs() is real.photographs("training") is None
    said = capsys.readouterr().out
    assert said.count(ON) == 2
    assert str(ROOT / "no/such.h5") in said
    assert str(ROOT / "no_such_folder") in said


def test_what_is_learned_from_has_no_near_copy(monkeypatch):
    drawn = synthetic.load("training", count=6)
    halves = {
        "training": replace(drawn, ids=("ISIC_0000000", *list(real.isic.COPIES)[:5])),
        "validation": replace(drawn, ids=tuple(real.isic.COPIES.values())[:6]),
    }
    monkeypatch.setattr(real, "_isic", lambda: halves)
    assert real.lesions("training").ids == ("ISIC_0000000",)
    assert real.photographs("training") is halves["training"]
    assert real.lesions("validation").ids == halves["validation"].ids


@pytest.mark.real
def test_lesson_12_finds_one_of_the_four_copies_in_validation(places, request):
    """What the lesson says of the real images, and computes as it does."""
    places(ISIC=request.getfixturevalue("real") / "isic2017")
    halves = [real.photographs("training"), real.photographs("validation")]
    small = [np.concatenate([b.x for b in Loader(half, 16, 50, np.eye(3, 4)).in_order()]) for half in halves]
    flat = [(x - x.mean((1, 2, 3), keepdims=True)).reshape(len(x), -1) for x in small]
    distance = np.stack([((flat[0] - one) ** 2).sum(axis=1) for one in flat[1]], axis=1)
    pairs = [(a, b) for a, b in real.isic.COPIES.items() if b in halves[1].ids]
    closer = [(distance < distance[halves[0].ids.index(a), halves[1].ids.index(b)]).sum() for a, b in pairs]
    assert len(closer) == 4
    assert min(closer) == 0
    assert sorted(closer)[1] > 2000


def test_an_archive_half_unpacked_stops_no_lesson(places, tmp_path, capsys):
    (tmp_path / "ISIC-2017_Training_Data").mkdir()
    places(ISIC=tmp_path)
    assert real.lesions("validation", count=6).classes == real.isic.CLASSES
    assert "ISIC-2017_Training_Part3_GroundTruth.csv" in capsys.readouterr().out


def test_weights_of_another_network_stop_no_lesson(places, tmp_path, capsys):
    file = tmp_path / "small.h5"
    keras.write(file, small_gap().params())
    places(WEIGHTS=file)
    assert real.vgg16() is None
    assert ON in capsys.readouterr().out
