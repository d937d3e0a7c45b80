"""What the tests of the table share: which rows are run, and with which options, so that they are run in seconds."""

import csv

import tiny

OPTIONS = tiny.options(epochs=1, limit=15, augment="turn", threshold=0.6, seed=None)
# Each kind of row, and each kind of crops.
RUN = (
    *("regression", "stage2", "stage1", "both", "longer", "both-longer", "stage2-views", "stage1-without-lesion"),
    *("screen-whole", "screen-middle", "screen-masks", "screen-shuffled"),
)


def predictions(path):
    """The probabilities in a file of predictions, a list a row."""
    with path.open(newline="") as file:
        return [[float(cell) for cell in list(row.values())[1:]] for row in csv.DictReader(file)]
