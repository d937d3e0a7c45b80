"""Any labelled images in a folder, in one of three layouts:

    labels.csv                columns image,label and, if you like, group and split; others are ignored
    <class>/*.jpg             a folder for each class
    training/<class>/*.jpg    the same, split by you: training/, validation/ and test/ (or train/, val/, valid/)

Any CSV file with the columns image and label will do, if it is the only one. Its images are named relative to
the folder, with or without suffix. `group` names what must not lie on both sides of a split, as a patient
does; `split` is training, validation or test. Images without a row are left out.

Where you give no validation images, a share of the training images is held out: of each class alike, whole
groups together, drawn from the seed. It depends on nothing else, so `load_split` finds the same images again.

Classes are in alphabetical order. The tasks are each class against the rest; where there are two classes
these would be one task stated twice, so it is the second class alone. Hidden files, files that are no images,
and images beside the class folders are ignored. A lesion mask is found at masks/<id>.png, where an image's id
is its path in the folder without suffix, such as masks/melanoma/a.png for melanoma/a.jpg.
"""

import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np

from minicam import MinicamError
from minicam.data.images import SUFFIXES, FileDataset, as_folder, ids_of, is_image
from minicam.data.table import has_columns, read_table

SPLITS = {
    "train": "training",
    "training": "training",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
MASKS = "masks"


@dataclass(frozen=True)
class _Item:
    """One image: its path in the folder, and what is said of it (None: nothing is)."""

    name: str
    label: str
    split: str | None = None
    group: str | None = None


def load(folder: str | Path, seed: int, validation: float = 0.2) -> tuple[FileDataset, FileDataset]:
    """The training and the validation images, each sorted by id.

    validation   the share that is held out where the folder does not say which images are for validation
    Raises MinicamError for what is missing, contradictory or too little.
    """
    splits = _load(folder, seed, validation)
    return splits["training"], splits["validation"]


def load_split(folder: str | Path, split: str, seed: int, validation: float = 0.2) -> FileDataset:
    """One split: what `load` finds for the same seed and share, or a "test" that the folder gives."""
    splits = _load(folder, seed, validation)
    if split not in splits:
        raise MinicamError(
            f"{folder} has no split {split!r}, only {', '.join(splits)}; "
            f"put images in {split}/<class>/, or say so in a column split of the CSV file"
        )
    return splits[split]


def _load(folder: str | Path, seed: int, validation: float) -> dict[str, FileDataset]:
    folder = as_folder(folder)
    if not 0 < validation < 1:
        raise MinicamError(f"a share of {validation} for validation was asked for; it lies between 0 and 1")
    table = _table(folder)
    items = _items_of_table(folder, table) if table else _items_of_folders(folder)
    items = sorted(items, key=lambda item: item.name)  # the order in which files are listed must not matter
    source = table or folder
    _check_groups(items, source)

    splits = np.array([item.split or "training" for item in items], dtype=object)
    classes = tuple(
        sorted({item.label for item, split in zip(items, splits, strict=True) if split == "training"})
    )
    if len(classes) < 2:
        found = f"only the class {classes[0]!r}" if classes else "no images"
        raise MinicamError(f"{source} has {found} to train on; at least two classes need images")
    if "mean" in classes:
        raise MinicamError(f"{source} has a class 'mean', as the mean AUC of all tasks is called; rename the class")
    for item in items:
        if item.label not in classes:
            raise MinicamError(
                f"{source}: {item.name} is of class {item.label!r}, which has no training images; add some"
            )
    labels = np.array([classes.index(item.label) for item in items], np.int64)

    ids = ids_of([item.name for item in items])
    if "validation" not in splits:
        groups = [item.group or i for item, i in zip(items, ids, strict=True)]
        rest = np.flatnonzero(splits == "training")
        held = hold_out(labels[rest], [groups[i] for i in rest], validation, seed)
        if not held.any():
            raise MinicamError(
                f"{source} has too few images or groups to hold any out for validation; add some"
            )
        splits[rest[held]] = "validation"

    everything = FileDataset(
        split="",
        ids=ids,
        labels=labels,
        classes=classes,
        tasks=classes if len(classes) > 2 else classes[1:],
        paths=tuple(folder / item.name for item in items),
        masks=_masks(folder, ids),
    )
    parts = [part for part in ("training", "validation", "test") if part in splits]
    return {part: replace(everything.subset(np.flatnonzero(splits == part)), split=part) for part in parts}


def hold_out(labels: np.ndarray, groups: list[str], share: float, seed: int) -> np.ndarray:
    """Which images to hold out, bool (N,): about `share` of each class, never a part of a group.

    labels   int (N,), from 0 on, each class present
    groups   N names of groups; an image on its own is a group of one

    Groups are taken in random order, the large first so that the small can even out, as long as each brings
    the classes' held-out shares closer to `share` (in the sum of squares) and leaves something of every
    class. A class of which this holds out nothing gives its smallest group, if it has another.
    """
    names, group = np.unique(groups, return_inverse=True)
    count = np.zeros((len(names), labels.max() + 1), np.int64)  # images by group and class
    np.add.at(count, (group, labels), 1)
    total, held = count.sum(0), np.zeros(count.shape[1], np.int64)
    order = np.random.default_rng(seed).permutation(len(names))
    order = order[np.argsort(-count[order].sum(1), kind="stable")]
    taken = np.zeros(len(names), bool)

    def distance(held: np.ndarray) -> float:
        return float(np.square(held / total - share).sum())

    for g in order:
        after = held + count[g]
        if np.all(after < total) and distance(after) < distance(held):
            taken[g], held = True, after
    for c in np.flatnonzero(held == 0):
        for g in order[::-1]:
            after = held + count[g]
            if held[c] == 0 and count[g, c] and np.all(after < total):
                taken[g], held = True, after
    return taken[group]


def _table(folder: Path) -> Path | None:
    """The CSV file with the labels, or None."""
    if (folder / "labels.csv").exists():
        return folder / "labels.csv"
    tables = sorted(
        p for p in folder.glob("*.csv") if not p.name.startswith(".") and has_columns(p, ("image", "label"))
    )
    if len(tables) > 1:
        names = ", ".join(table.name for table in tables)
        raise MinicamError(
            f"{folder} has several CSV files with labels, {names}; name the one to use labels.csv"
        )
    return tables[0] if tables else None


def _items_of_table(folder: Path, table: Path) -> list[_Item]:
    files = [path.relative_to(folder) for path in _images_under(folder)]
    names = {path.as_posix() for path in files}
    of_stem = {path.with_suffix("").as_posix(): path.as_posix() for path in files}
    several = Counter(path.with_suffix("") for path in files)
    items: dict[str, _Item] = {}
    for line, row in read_table(table, ("image", "label")):
        where, name = f"{table}, line {line}", row["image"].replace("\\", "/")
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or re.match("[A-Za-z]:", name):
            raise MinicamError(
                f"{where}: the image {row['image']!r} leads out of {folder}; name one in it"
            )
        name = str(path)
        if name not in names:
            if several[Path(name)] > 1:
                raise MinicamError(f"{where}: several images are called {name!r}; name one with its suffix")
            if name not in of_stem:
                raise MinicamError(
                    f"{where}: {folder} holds no image {row['image']!r} "
                    f"(a file ending in {', '.join(SUFFIXES)}); add it or delete the row"
                )
            name = of_stem[name]
        if name in items:
            raise MinicamError(f"{where}: {name} stands here for the second time; delete one of the two rows")
        for column in {"label", "group", "split"} & row.keys():
            if not row[column]:
                raise MinicamError(f"{where}: {name} has no {column}; fill it in")
        split = row.get("split")
        if split is not None and split.lower() not in SPLITS:
            raise MinicamError(f"{where}: the split is {split!r}; expected training, validation or test")
        items[name] = _Item(name, row["label"], split and SPLITS[split.lower()], row.get("group"))
    return list(items.values())


def _items_of_folders(folder: Path) -> list[_Item]:
    places: dict[str | None, Path] = {}
    for path in _folders_in(folder):
        split = SPLITS.get(path.name.lower())
        if split in places:
            raise MinicamError(f"{folder} has both {places[split].name}/ and {path.name}/; keep one of them")
        if split:
            places[split] = path
    others = [path for path in _folders_in(folder) if path not in places.values()]
    if "training" in places:
        for path in others:
            if _images_under(path):
                raise MinicamError(
                    f"{path} is no split, and lies beside {places['training'].name}/; call it one of "
                    f"{', '.join(SPLITS)}, or remove it"
                )
    elif len(places) > 1 or (places and not others):
        names = " and ".join(f"{path.name}/" for path in places.values())
        raise MinicamError(f"{folder} holds {names}, but there is no training/; add it, with a folder for each class")
    else:
        places = {None: folder}  # a class may be called "test"
    items = []
    for split, place in places.items():
        for path in _folders_in(place):
            images = _images_under(path)
            if not images and split in ("training", None):
                raise MinicamError(f"the class folder {path} holds no images; fill it or remove it")
            items += [_Item(image.relative_to(folder).as_posix(), path.name, split) for image in images]
    if "validation" in places and not any(item.split == "validation" for item in items):
        raise MinicamError(f"{places['validation']} holds no images in class folders; fill it or remove it")
    if not items:
        raise MinicamError(
            f"{folder} holds no labelled images: expected a CSV file with the columns image,label, "
            "or images in a folder for each class (files ending in " + ", ".join(SUFFIXES) + ")"
        )
    return items


def _folders_in(folder: Path) -> list[Path]:
    """The folders that can stand for a class or a split, sorted."""
    return sorted(
        p for p in as_folder(folder).iterdir() if p.is_dir() and p.name != MASKS and p.name[0] != "."
    )


def _images_under(folder: Path) -> list[Path]:
    """All images in a folder and in the folders in it, but not in hidden ones."""
    return [
        path
        for path in sorted(folder.rglob("*"))
        if is_image(path) and path.is_file() and not any(p[0] == "." for p in path.relative_to(folder).parts)
    ]


def _masks(folder: Path, ids: tuple[str, ...]) -> tuple[Path | None, ...]:
    paths = [folder / MASKS / f"{i}.png" for i in ids]
    return tuple(path if path.is_file() else None for path in paths)


def _check_groups(items: list[_Item], source: Path) -> None:
    split_of: dict[str, str] = {}
    for item in items:
        if item.group is not None and item.split is not None:
            other = split_of.setdefault(item.group, item.split)
            if other != item.split:
                raise MinicamError(
                    f"{source}: the group {item.group!r} has images in {other} and in {item.split}; "
                    "keep it in one"
                )
