"""The row in which no network learns: logistic regression on means of what frozen layers say of images and crops."""

from dataclasses import replace

import numpy as np

from minicam import MinicamError
from minicam.backend import to_cpu
from minicam.config import Config
from minicam.data import Dataset, limit
from minicam.inference import learn_foreground, loader_for, locate
from minicam.metrics import mean_auc
from minicam.model import Network
from minicam.reproduce.place import Place
from minicam.train import FOREGROUND_IMAGES, build

C = np.logspace(-3.5, -1.5, 5)  # of these the one that cross-validation prefers


def classify(
    config: Config, datasets: tuple[Dataset, Dataset], parts: list[str], place: Place
) -> tuple[np.ndarray, dict]:
    """Probabilities (N, K) of the second data set's images, learned from the first; and what was found on the way:

    C                          chosen by cross-validation over shuffled folds
    cross_validated            the mean AUC of the training images there, each scored when it was held out
    cross_validated_in_blocks  the same over folds of images that follow each other: neighbours are from one source

    parts  what of the features is used, see `means`; each feature is scaled to deviation 1
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    network = build(config, len(datasets[0].classes), on=place.on)
    crops = (None, None)
    if any(part.endswith("-crop") for part in parts):
        crops = fresh_crops(network, config, datasets, place)
    learning, scored = (
        means(network, dataset, boxes, config, parts, place) for dataset, boxes in zip(datasets, crops, strict=True)
    )
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    search = GridSearchCV(classifier, {"logisticregression__C": C}, cv=folds, scoring="roc_auc_ovr")
    search.fit(learning, datasets[0].labels)
    labels, tasks = datasets[0].labels, [datasets[0].classes.index(task) for task in datasets[0].tasks]
    found = {"C": float(search.best_params_["logisticregression__C"])}
    for name, cv in (("cross_validated", folds), ("cross_validated_in_blocks", StratifiedKFold(5))):
        p = cross_val_predict(search.best_estimator_, learning, labels, cv=cv, method="predict_proba")
        found[name] = mean_auc(labels, p, tasks)["mean"]
    return search.predict_proba(scored), found


def fresh_crops(
    network: Network, config: Config, datasets: tuple[Dataset, Dataset], place: Place
) -> tuple[np.ndarray, np.ndarray]:
    """The crops (N, 4) of both data sets by the region "foreground", for which nothing needs to be trained."""
    some = datasets[0].subset(limit(datasets[0].labels, FOREGROUND_IMAGES))
    first, *both = (loader_for(network, d, config, 1, place.workers, cache=place.cache) for d in (some, *datasets))
    rule = replace(config.crop_rule, region="foreground", foreground=learn_foreground(network, first))
    training, validation = (locate(network, loader, rule).crops for loader in both)
    return training, validation


def means(
    network: Network, dataset: Dataset, crops: np.ndarray | None, config: Config, parts: list[str], place: Place
) -> np.ndarray:
    """Square roots (N, C) of the means over places, of all parts side by side.

    parts  conv5: what enters CAM_conv; pool4: what comes out of the last pooling; with -crop: the same of the crops
    """
    columns: dict[str, list[np.ndarray]] = {part: [] for part in parts}
    top, above_pool = [layer.name for layer in network.layers].index("CAM_conv"), network.last_pool() + 1
    for end, boxes, stage in (("", None, 1), ("-crop", crops, 2)):
        if not columns.keys() & {f"conv5{end}", f"pool4{end}"}:
            continue
        wanted = {above_pool: f"pool4{end}", top: f"conv5{end}"}  # by the layer that it enters
        for batch in loader_for(network, dataset, config, stage, place.workers, boxes, place.cache).in_order():
            x = batch.x
            for i in range(batch.start, top + 1):
                if wanted.get(i) in columns:
                    columns[wanted[i]].append(to_cpu(x.mean((1, 2))))
                if i < top:
                    x = network.layers[i].forward(x)
    missing = [name for name, rows in columns.items() if not rows]
    if missing:
        raise MinicamError(f"there is no {missing[0]} to be had from {config.train_from} on; name a lower --train-from")
    return np.sqrt(np.concatenate([np.concatenate(rows) for rows in columns.values()], 1))
