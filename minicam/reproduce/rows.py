"""The rows of the table. Each belongs to a base, which is a recipe of `minicam.train`."""

from dataclasses import dataclass, field

SHORT = {"augment": (), "epochs": 4}  # of a second stage that only screens crops


@dataclass(frozen=True)
class Base:
    """A recipe: what it has other than `minicam.train --data` by itself, and the seeds that its rows are run with."""

    choices: dict = field(default_factory=dict)
    seeds: tuple[int, ...] = (0,)


BASES = {
    "frozen": Base(),
    "recipe": Base(seeds=(0, 1, 2)),
    "fold": Base({"fold": 1}),
    "fold-no-augmentation": Base({"fold": 1, "augment": ()}),
    "fold-flips": Base({"fold": 1, "augment": ("flip", "turn")}),
    "fold-all-augmentation": Base({"fold": 1, "augment": ("flip", "rotate", "crop", "scale", "colour")}),
    "fold-slow": Base({"fold": 1, "lr": 1e-4}),
    "fold-fast": Base({"fold": 1, "lr": 1.6e-3}),
    "fine-tuned": Base({"size": 112, "train_from": "block1_conv1"}),
    "from-scratch": Base({"size": 112, "train_from": "block1_conv1", "weights": "none", "lr": 0.01}),
}


@dataclass(frozen=True)
class Row:
    """A row.

    says     what it is, as the table has it
    how      the function of `measure` that runs it
    files    the predictions that are averaged, in the base's folder; {} stands for "seed" and its number
    base     the name in BASES
    what     what the function is to do: which crops, which part of the images
    choices  of a second stage, what differs from the base
    beside   the row whose figures it is compared with, image by image
    minutes  that one seed took on two cores of an AMD EPYC (Zen 3), after the rows that it needs
    """

    says: str
    how: str
    files: tuple[str, ...]
    base: str = "recipe"
    what: str = ""
    choices: dict = field(default_factory=dict)
    beside: str = ""
    minutes: int = 1


FIRST, SECOND = "{}/predictions_stage1.csv", "{}/predictions_stage2.csv"
VIEWS = "{}/evaluation_validation_views_8/predictions_stage"
WHOLE_IMAGES = "stage 1 goes on with whole images"


def _average(says: str, what: str, files: tuple[str, ...], **more: object) -> Row:
    return Row(says, "average", files, what=what, **more)


def _regression(says: str, what: str, **more: object) -> Row:
    return Row(says, "regression", (f"{{}}_{what}/predictions.csv",), "frozen", what, **more)


def _second(name: str, says: str, how: str, base: str = "recipe", **more: object) -> Row:
    """A second stage of its own beside that of the base."""
    return Row(says, how, (f"{{}}_{name}/predictions_stage2.csv",), base, **more)


def _screened(name: str, says: str, threshold: float) -> tuple[str, Row]:
    row, choices = f"screen-{name}", {**SHORT, "region": name, "threshold": threshold}
    return row, _second(row, says, "region", "fold", choices=choices, beside="screen-whole", minutes=10)


def _given(name: str, says: str, **more: object) -> tuple[str, Row]:
    row = f"screen-{name}"
    return row, _second(row, says, "given", "fold", what=name, choices=SHORT, minutes=8, **more)


def _without(part: str, says: str) -> dict[str, Row]:
    folder = f"{{}}/evaluation_validation_without_{part}/predictions_stage"
    return {
        f"stage{stage}-without-{part}": Row(
            f"stage {stage}, {says}", "without", (f"{folder}{stage}.csv",), what=part, beside=f"stage{stage}", minutes=3
        )
        for stage in (1, 2)
    }


ROWS = {
    # Nothing is trained but a linear classifier.
    "regression": _regression("frozen features of block 5, logistic regression", "conv5"),
    "regression-block4": _regression("of block 4", "pool4", beside="regression"),
    "regression-crops": _regression(
        "of both, of image and crop", "conv5,pool4,conv5-crop,pool4-crop", beside="regression", minutes=8
    ),
    # The main rows, with the control of training time.
    "stage1": Row("stage 1: whole images", "first", (FIRST,), minutes=30),
    "stage2": Row("stage 2: crops", "both", (SECOND,), beside="stage1", minutes=40),
    "both": _average("both stages averaged", "stage1,stage2", (FIRST, SECOND), beside="stage1"),
    "longer": _second("longer", WHOLE_IMAGES, "given", what="whole", beside="stage1", minutes=25),
    "both-longer": _average(
        "that and stage 1 averaged", "stage1,longer", (FIRST, "{}_longer/predictions_stage2.csv"), beside="both"
    ),
    "stage1-views": Row("stage 1 over 8 flips and turns", "views", (f"{VIEWS}1.csv",), beside="stage1", minutes=5),
    "stage2-views": Row("stage 2 over 8 flips and turns", "views", (f"{VIEWS}2.csv",), beside="stage2"),
    "both-views": Row("both over 8 flips and turns", "views", (f"{VIEWS}1.csv", f"{VIEWS}2.csv"), beside="both"),
    # Parts of the images painted over.
    **_without("lesion", "lesion painted over"),
    **_without("outside", "all but the lesion painted over"),
    **_without("strange", "stickers and pen marks painted over"),
    **_without("rim", "the rim painted over"),
    # Is it the pre-training?
    "fine-tuned": Row("all of VGG16-GAP fine-tuned, 112 px", "first", (FIRST,), "fine-tuned", minutes=40),
    "from-scratch": Row(
        "the same from scratch", "first", (FIRST,), "from-scratch", beside="fine-tuned", minutes=40
    ),
    # Choices, on a fold.
    "fold-stage1": Row("stage 1", "first", (FIRST,), "fold", minutes=25),
    "fold-stage2": Row("stage 2", "both", (SECOND,), "fold", beside="fold-stage1", minutes=30),
    "fold-both": _average(
        "both averaged", "fold-stage1,fold-stage2", (FIRST, SECOND), base="fold", beside="fold-stage1"
    ),
    "fold-start": _second(
        "fold-start", "stage 2 from the weights that stage 1 started from", "region", "fold",
        choices={"stage2_from": "start"}, beside="fold-stage2", minutes=25,
    ),
    "fold-both-start": _average(
        "that and stage 1 averaged", "fold-stage1,fold-start", (FIRST, "{}_fold-start/predictions_stage2.csv"),
        base="fold", beside="fold-both",
    ),
    "fold-no-augmentation": Row(
        "stage 1 without quarter turns", "first", (FIRST,), "fold-no-augmentation", beside="fold-stage1", minutes=20
    ),
    "fold-flips": Row("stage 1 with flips, too", "first", (FIRST,), "fold-flips", beside="fold-stage1", minutes=35),
    "fold-all-augmentation": Row(
        "stage 1 with free rotation, crop, scale, colour",
        "first", (FIRST,), "fold-all-augmentation", beside="fold-stage1", minutes=60,
    ),
    "fold-slow": Row(
        "stage 1 at a quarter of the rate", "first", (FIRST,), "fold-slow", beside="fold-stage1", minutes=25
    ),
    "fold-fast": Row(
        "stage 1 at four times the rate", "first", (FIRST,), "fold-fast", beside="fold-stage1", minutes=25
    ),
    # Crop rules, on that fold: the same stage 1, short second stages.
    **dict([_given("whole", "whole images")]),
    **dict(
        _screened(name, says, threshold)
        for name, says, threshold in (
            ("predicted", "CAM of the predicted class", 0.2),
            ("centred", "the same, favouring the middle", 0.2),
            ("evidence", "CAMs of all classes, their positive parts", 0.3),
            ("energy", "sum of the features of block 4, favouring the middle", 0.3),
            ("foreground", "foreground learned from the middle of images", 0.3),
            ("middle", "the middle of every image", 0.7),
        )
    ),
    **dict([_given("masks", "around the true masks", beside="screen-whole")]),
    **dict([_given("shuffled", "boxes of foreground, dealt to other images", beside="screen-foreground")]),
}  # fmt: skip
