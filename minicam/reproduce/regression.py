"""The rows in which no network learns: logistic regression on means of what frozen layers say of images."""

import numpy as np

from minicam import MinicamError
from minicam.backend import to_cpu
from minicam.config import Config
from minicam.data import Dataset
from minicam.inference import loader_for
from minicam.metrics import mean_auc
from minicam.model import Network
from minicam.reproduce.place import Place
from minicam.train import build

C = np.logspace(-3.5, -1.5, 5)  # of these the one that cross-validation prefers


def classify(config: Config, datasets: tuple[Dataset, Dataset], part: str, place: Place) -> tuple[np.ndarray, dict]:
    """Probabilities (N, K) of the second data set's images, learned from the first; and what was found on the way:

    C                          chosen by cross-validation over shuffled folds
    cross_validated            the mean AUC of the training images there, each scored when it was held out
    cross_validated_in_blocks  the same over folds of images that follow each other: neighbours are from one source

    part  which features are used, see `means`; each is scaled to deviation 1
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    network = build(config, len(datasets[0].classes), on=place.on)
    learning, scored = (means(network, dataset, config, part, place) for dataset in datasets)
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


def means(network: Network, dataset: Dataset, config: Config, part: str, place: Place) -> np.ndarray:
    """Square roots (N, C) of the means of features over places.

    part  conv5: what enters CAM_conv; pool4: what comes out of the last pooling
    """
    names = [layer.name for layer in network.layers]
    top = {"conv5": names.index("CAM_conv"), "pool4": network.last_pool() + 1}[part]  # the layer that they enter
    rows = []
    for batch in loader_for(network, dataset, config, 1, place.workers, cache=place.cache).in_order():
        if batch.start > top:
            raise MinicamError(f"there is no {part} to be had from {config.train_from} on; name a lower --train-from")
        x = batch.x
        for layer in network.layers[batch.start : top]:
            x = layer.forward(x)
        rows.append(to_cpu(x.mean((1, 2))))
    return np.sqrt(np.concatenate(rows))
