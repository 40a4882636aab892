"""Computes scikit-learn's figures for matrices that the tests wrote, and prints them as one JSON object.

Argument: the folder of the matrices. Standard input has a line of JSON for each comparison:
{"what": …, and the names of its matrices}.
A matrix NAME is the file NAME.f64, little-endian, with its columns as the last number of its name: train.7.f64.
"""

import json
import sys
import warnings
from pathlib import Path

import numpy
from sklearn import ensemble, feature_selection, linear_model, metrics, naive_bayes, svm, tree


def classifiers(seed):
    return {
        "naive-bayes": naive_bayes.GaussianNB(),
        "decision-tree": tree.DecisionTreeClassifier(random_state=seed),
        "random-forest": ensemble.RandomForestClassifier(random_state=seed),
        "logistic": linear_model.LogisticRegression(max_iter=200),
        "svm": svm.SVC(gamma="scale"),
    }


def detectors(seed):
    return {
        "isolation-forest": ensemble.IsolationForest(random_state=seed),
        "one-class-svm": svm.OneClassSVM(nu=0.05, gamma="scale"),
    }


def ranking(scores, truth):
    fpr, tpr, _ = metrics.roc_curve(truth, scores, drop_intermediate=False)
    return {
        "auroc": metrics.roc_auc_score(truth, scores),
        "average_precision": metrics.average_precision_score(truth, scores),
        "tpr_at_fpr": {limit: float(tpr[fpr <= float(limit)].max()) for limit in ("0.1", "0.01")},
    }


def main():
    folder = Path(sys.argv[1])

    def matrix(name):
        (path,) = folder.glob(f"{name}.*.f64")
        return numpy.fromfile(path, dtype="<f8").reshape(-1, int(path.name.split(".")[-2]))

    found = {}
    for line in sys.stdin:
        request = json.loads(line)
        what = request["what"]
        if what == "ranking":
            table = matrix(request["rows"])
            found[what] = ranking(table[:, 0], table[:, 1])
        elif what == "clusters":
            rows, members = matrix(request["rows"]), matrix(request["classes"])[:, 0]
            found[what] = {
                "silhouette": metrics.silhouette_score(rows, members),
                "davies_bouldin": metrics.davies_bouldin_score(rows, members),
            }
        elif what == "selection":
            rows, classes = matrix(request["rows"]), matrix(request["classes"])[:, 0]
            found[what] = {
                "chi2": feature_selection.chi2(rows, classes)[0].tolist(),
                "mutual_information": [metrics.mutual_info_score(column, classes) for column in rows.T],
            }
        elif what == "classifiers":
            train, test = matrix(request["train"]), matrix(request["test"])
            accuracy = {}
            for name, classifier in classifiers(0).items():
                if name in request["names"]:
                    classifier.fit(train[:, :-1], train[:, -1])
                    accuracy[name] = classifier.score(test[:, :-1], test[:, -1])
            found[request["as"]] = accuracy
        elif what == "detectors":
            train, test = matrix(request["train"]), matrix(request["test"])
            auroc = {}
            for name, detector in detectors(0).items():
                scores = -detector.fit(train).score_samples(test[:, :-1])
                auroc[name] = metrics.roc_auc_score(test[:, -1], scores)
            found[what] = auroc
    print(json.dumps(found))


if __name__ == "__main__":
    # Warnings about optimisations that have not converged do not matter here.
    warnings.filterwarnings("ignore")
    main()
