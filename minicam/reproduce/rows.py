"""The rows of the table. Each belongs to a base, which is a recipe of `minicam.train`."""

from dataclasses import dataclass, field

from minicam.config import THRESHOLDS

SHORT = {"augment": (), "epochs": 4}  # of a second stage that only screens crops


@dataclass(frozen=True)
class Base:
    """A recipe: what it has other than `minicam.train --data` by itself, and the seeds that its rows are run with."""

    choices: dict = field(default_factory=dict)
    seeds: tuple[int, ...] = (0,)


FOLD = {"fold": 1}
SMALL = {"size": 112, "train_from": "block1_conv1"}
BASES = {
    "frozen": Base(),
    "recipe": Base(seeds=(0, 1, 2)),
    "fold": Base(FOLD),
    "fold-plain": Base({**FOLD, "augment": ()}),
    "fold-flips": Base({**FOLD, "augment": ("flip", "turn")}),
    "fold-free": Base({**FOLD, "augment": ("flip", "rotate", "crop", "scale", "colour")}),
    "fine-tuned": Base(SMALL),
    "from-scratch": Base({**SMALL, "weights": "none", "lr": 0.01, "rates": {}}),
}


def next_seed(base: str, seed: int) -> int:
    """The seed after this one in the base's; after the last, and after any other, the first."""
    seeds = BASES[base].seeds
    return seeds[(seeds.index(seed) + 1) % len(seeds)] if seed in seeds else seeds[0]


def seed_beside(base: str, seed: int, other: str) -> int:
    """The seed of another base that goes with this one: the same; the first where that base is not run with it."""
    return seed if other == base or seed in BASES[other].seeds else BASES[other].seeds[0]


@dataclass(frozen=True)
class Row:
    """A row.

    says     what it is, as the table has it
    how      the function of `measure` that runs it; of an average only the parts are run
    files    its predictions in the base's folder, to be averaged; {here} stands for "seed" and its number
    base     the name in BASES
    what     what the function is to do: which crops, which part of the images, which rows are averaged (see `parts`)
    choices  of a second stage, what differs from the base
    beside   the rows whose figures it is compared with, image by image
    seeds    that it is run with, where not all of the base's
    minutes  that one seed takes on a core of an AMD EPYC (Zen 3), after the rows that it needs
    """

    says: str
    how: str
    files: tuple[str, ...] = ()
    base: str = "recipe"
    what: str = ""
    choices: dict = field(default_factory=dict)
    beside: tuple[str, ...] = ()
    seeds: tuple[int, ...] | None = None
    minutes: int = 1


STAGE1, STAGE2 = "{here}/predictions_stage1.csv", "{here}/predictions_stage2.csv"
VIEWS1, VIEWS2 = "{here}_views/predictions_stage1.csv", "{here}_views/predictions_stage2.csv"


def _stage1(base: str, says: str, **more: object) -> Row:
    return Row(says, "first", (STAGE1,), base, **more)


def _second(name: str, how: str, says: str, **more: object) -> dict[str, Row]:
    """A second stage of its own beside that of the base."""
    return {name: Row(says, how, (f"{{here}}_{name}/predictions_stage2.csv",), **more)}


def _average(says: str, *parts: str, **more: object) -> Row:
    return Row(says, "average", what=",".join(parts), **more)


def _regression(says: str, what: str, **more: object) -> Row:
    return Row(says, "regression", (f"{{here}}_{what}/predictions.csv",), "frozen", what, **more)


def _region(name: str) -> dict:
    return {"region": name, "threshold": THRESHOLDS[name]}


def _other(name: str, says: str, seeds: tuple[int, ...] | None = (0,)) -> dict[str, Row]:
    more = {"choices": _region(name), "beside": ("stage1", "stage2"), "seeds": seeds, "minutes": 60}
    return _second(name, "region", says, **more)


SCREENS = ("screen-whole", "screen-foreground")  # that the others are compared with


def _screened(name: str, says: str, beside: tuple[str, ...] = SCREENS) -> dict[str, Row]:
    choices = {**SHORT, **_region(name)}
    return _second(f"screen-{name}", "region", says, base="fold", choices=choices, beside=beside, minutes=25)


def _screened_given(name: str, says: str, beside: tuple[str, ...] = SCREENS) -> dict[str, Row]:
    more = {"base": "fold", "what": name, "choices": SHORT, "beside": beside, "minutes": 12}
    return _second(f"screen-{name}", "given", says, **more)


def _without(part: str, says: str) -> dict[str, Row]:
    return {
        f"stage{stage}-without-{part}": Row(
            f"stage {stage}, {says}",
            "without",
            (f"{{here}}_without-{part}/predictions_stage{stage}.csv",),
            what=part,
            beside=(f"stage{stage}",),
            seeds=(0,),
            minutes=2,
        )
        for stage in (1, 2)
    }


ROWS = {
    # Nothing is trained but a linear classifier.
    "regression": _regression("logistic regression on frozen features of block 5", "conv5", minutes=2),
    "regression-block4": _regression(
        "logistic regression on frozen features of block 4", "pool4", beside=("regression",), minutes=2
    ),
    # The main rows, with their controls.
    "stage1": _stage1("recipe", "stage 1, whole images", beside=("regression-block4",), minutes=30),
    "stage2": Row(
        "stage 2, crops by foreground", "two_stages", (STAGE2,),
        beside=("stage1", "longer", "regression-block4"), minutes=40,
    ),
    "both": _average(
        "stages 1 and 2 averaged", "stage1", "stage2",
        beside=("stage1", "stage2", "both-longer", "two-stage1", "stage1-regression", "regression-block4"),
    ),
    **_second(
        "longer", "given", "stage 1 that goes on with whole images", what="whole", beside=("stage1",), minutes=27
    ),
    "both-longer": _average("stage 1 and that averaged", "stage1", "longer", beside=("stage1",)),
    "two-stage1": _average("stages 1 of two seeds averaged", "stage1", "stage1'", beside=("stage1",)),
    "stage1-regression": _average(
        "stage 1 and the regression on block 4 averaged", "stage1", "regression-block4",
        beside=("stage1", "regression-block4"),
    ),
    "stage1-views": Row("stage 1 over 8 flips and turns", "views", (VIEWS1,), beside=("stage1",), minutes=6),
    "stage2-views": Row("stage 2 over 8 flips and turns", "views", (VIEWS2,), beside=("stage2",)),
    "both-views": Row(
        "stages 1 and 2 averaged over 8 flips and turns", "views", (VIEWS1, VIEWS2), beside=("both", "stage1-views")
    ),
    # Other crops under the whole recipe.
    **_second(
        "masks", "given", "stage 2, crops around the true masks", what="masks", beside=("stage1", "stage2"),
        seeds=(0,), minutes=65,
    ),
    **_other("energy", "stage 2, crops by the sum of the features of block 4", seeds=None),  # second on the fold
    **_other("predicted", "stage 2, crops by the CAM of the predicted class"),
    # Parts of the images painted over.
    **_without("lesion", "the lesion painted over"),
    **_without("box", "the lesion's bounding box painted over"),
    **_without("outside", "all but the lesion painted over"),
    **_without("strange", "stickers and pen marks painted over"),
    **_without("rim", "the rim painted over"),
    # Is it the pre-training?
    "fine-tuned": _stage1("fine-tuned", "all of VGG16-GAP fine-tuned, 112 px", minutes=65),
    "from-scratch": _stage1(
        "from-scratch", "all of VGG16-GAP from scratch, 112 px", beside=("fine-tuned",), minutes=70
    ),
    # Choices, on a fold of the training images.
    "fold-stage1": _stage1("fold", "stage 1", minutes=28),
    "fold-stage2": Row("stage 2, from stage 1", "two_stages", (STAGE2,), "fold", beside=("fold-stage1",), minutes=60),
    "fold-both": _average(
        "stages 1 and 2 averaged", "fold-stage1", "fold-stage2", base="fold", beside=("fold-stage1",)
    ),
    "fold-plain": _stage1("fold-plain", "stage 1 without augmentation", beside=("fold-stage1",), minutes=25),
    "fold-flips": _stage1("fold-flips", "stage 1 with flips and turns", beside=("fold-stage1",), minutes=40),
    "fold-free": _stage1(
        "fold-free", "stage 1 with flips, free rotation, crop, scale and colour", beside=("fold-stage1",), minutes=100
    ),
    # Crop rules, on the same fold: one stage 1, short second stages.
    **_screened_given("whole", "whole images", beside=()),
    **_screened("predicted", "CAM of the predicted class"),
    **_screened("centred", "CAM of the predicted class, favouring the middle"),
    **_screened("evidence", "CAMs of all classes, their positive parts"),
    **_screened("energy", "sum of the features of block 4, favouring the middle"),
    **_screened("middle", "the middle of every image"),
    **_screened("foreground", "foreground learned from the middle of images", beside=("screen-whole",)),
    **_screened_given("masks", "around the true masks"),
    **_screened_given("shuffled", "boxes of foreground, dealt to other images"),
}  # fmt: skip


def own_seeds(name: str) -> tuple[int, ...]:
    """The seeds that a row is run with."""
    return ROWS[name].seeds or BASES[ROWS[name].base].seeds


def parts(name: str, seed: int) -> list[tuple[str, int]]:
    """The rows, with their seeds, that an average is made of, named in `what`: one with a ' is that of the next seed.
    Other rows have none."""
    row, found = ROWS[name], []
    for part in row.what.split(",") if row.how == "average" else ():
        of = part.rstrip("'")
        found.append((of, seed_beside(row.base, next_seed(row.base, seed) if part != of else seed, ROWS[of].base)))
    return found
