"""Measures detectors on captures of networks that they were not trained on: flowml's, and scikit-learn's on NFStream's columns.

    unseen.py FLOWML FOLDER [DIVISIONS]
FOLDER contains `benign`, without attacks, and `labelled` with its labels.csv. The benign captures of both are divided
into two halves. In each of two rounds, one half is the training set, and the other half and all attacks are scored. The
printed values are means over both rounds.

scikit-learn's detectors get the columns of NFStream and of flowml's host windows, as `flowml read` writes them. The
false-positive rates are those of benign rows at the requested rates of 1 % and 0.1 %. The threshold of scikit-learn's
detectors is a quantile of the scores of held-out rows.

A half has too few rows for a rate of 0.1 %. So the rates of flowml's k-means are also measured in five folds: each benign
capture is scored by a model of the other four folds, and the rates are those of all benign rows together. Benign rows of the
captures with attacks are scored in every fold.

With DIVISIONS, only flowml's k-means is measured, on this many random divisions into halves. The printed values are the mean
of all rounds and the standard deviation of the divisions.
"""

import csv
import fnmatch
import glob
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy
import pyarrow.parquet
from sklearn.cluster import KMeans
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM

from incidents import captures, label_of

BENIGN = "benign"
DETECTORS = ["kmeans", "isolation-forest", "one-class-svm", "ensemble"]
FPRS = ["0.01", "0.001"]
FOLDS = 5
# The time of the one-class SVM is quadratic in the rows.
SVM_ROWS = 4000
# One row in five is held out for the quantiles.
PARTS = 5


class Distance:
    """k-means, whose anomaly score is the distance of a row from its centroid."""

    def __init__(self):
        self.clusters = KMeans(n_clusters=20, n_init=3, random_state=0)

    def fit(self, rows):
        self.clusters.fit(rows)
        return self

    def score_samples(self, rows):
        return -self.clusters.transform(rows).min(axis=1)


PEERS = {
    "scikit-learn kmeans": Distance,
    "scikit-learn isolation-forest": lambda: IsolationForest(random_state=0),
    "scikit-learn one-class-svm": lambda: OneClassSVM(nu=0.05, gamma="scale"),
}


def inputs(folder):
    """Every capture with its line of labels.csv, or None for those of `benign`."""
    with (folder / "labelled/labels.csv").open() as table:
        lines = list(csv.DictReader(table))
    labelled = [(path, label_of(path.relative_to(folder / "labelled").as_posix(), lines)) for path in captures(folder / "labelled")]
    return [(path, None) for path in captures(folder / "benign")] + [(path, line) for path, line in labelled if line is not None]


def label_list(captures, path):
    """Writes the list of labelled files in flowml's format."""
    with path.open("w", newline="") as out:
        rows = csv.writer(out)
        rows.writerow(["file", "label", "scope", "attacker", "victim"])
        for capture, line in captures:
            line = line or {"label": BENIGN, "scope": "all", "attacker": "", "victim": ""}
            ends = [line["attacker"], line["victim"]] if line["scope"] == "pair" else ["", ""]
            scope = "between" if line["scope"] == "pair" else "all"
            rows.writerow([glob.escape(str(capture)), line["label"], scope, *ends])


def by_flowml(flowml, labels, train, test, scratch, detectors=DETECTORS):
    """The figures of each detector, by `flowml eval`."""
    out = scratch / "eval.json"
    command = [flowml, "eval", "--benign", BENIGN, "--detector", ",".join(detectors), *test, "--labels", labels]
    done = subprocess.run([*command, "--train", *train, "-o", f"json={out}"], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    report = json.loads(out.read_text())
    benign = {row["name"]: row for row in report["benign"]}
    figures = {}
    for own in report["detectors"]:
        name = own["name"]
        figures[f"flowml {name}"] = {
            "AUROC": own["auroc"],
            **{f"TPR@{fpr}": own["tpr_at_fpr"][fpr] for fpr in FPRS},
            **{f"FPR@{fpr}": benign[name]["p_below"][fpr] for fpr in FPRS},
            "rows": benign[name]["rows"],
            "classes": {label: row["auroc"] for label, row in own["classes"].items()},
        }
    return figures


def columns_of(schema):
    """NFStream's columns except addresses, ports and times, and the columns of host windows."""
    statistics = ("bidirectional_", "src2dst_", "dst2src_")
    last = schema.names.index("dst2src_fin_packets")
    nfstream = [name for name in schema.names[: last + 1] if name.startswith(statistics) and "seen_ms" not in name]
    return ["protocol", *nfstream, *(name for name in schema.names if "_window_" in name and "first" not in name)]


def flows(flowml, capture, scratch):
    """The columns of a capture's flows, and their addresses."""
    folder = scratch / "flows"
    # The run fails on a damaged capture, but writes the rows before the damage.
    subprocess.run([flowml, "read", capture, "--quiet", "-o", f"parquet={folder}"], check=False, stderr=subprocess.DEVNULL)
    table = pyarrow.parquet.read_table(folder / "flows.parquet")
    columns = [table[name].to_numpy(zero_copy_only=False).astype(float) for name in columns_of(table.schema)]
    return numpy.array(columns).T, table["src_ip"].to_pylist(), table["dst_ip"].to_pylist()


def labels_of(line, sources, targets):
    if line is None:
        return [BENIGN] * len(sources)
    if line["scope"] == "all":
        return [line["label"]] * len(sources)
    pair = (line["attacker"], line["victim"])
    is_pair = lambda ends: any(all(map(fnmatch.fnmatch, order, pair)) for order in (ends, ends[::-1]))
    return [line["label"] if is_pair(ends) else BENIGN for ends in zip(sources, targets)]


def by_peers(train, rows, labels):
    """The figures of each of scikit-learn's detectors."""
    medians = numpy.nanmedian(train, axis=0)
    filled = lambda some: numpy.log1p(numpy.maximum(numpy.where(numpy.isfinite(some), some, medians), 0))
    scaler = StandardScaler().fit(filled(train))
    train, rows = scaler.transform(filled(train)), scaler.transform(filled(rows))
    order = numpy.random.default_rng(0).permutation(len(train))
    held_out, learnt = order[: len(order) // PARTS], order[len(order) // PARTS :]
    benign = labels == BENIGN
    figures = {}
    for name, detector in PEERS.items():
        some = train[learnt[:SVM_ROWS]] if "svm" in name else train[learnt]
        fitted = detector().fit(some)
        scores, calm = -fitted.score_samples(rows), -fitted.score_samples(train[held_out])
        above = lambda of, fpr: float((scores[~benign] > numpy.quantile(of, 1 - float(fpr))).mean())
        auroc = lambda own: roc_auc_score(~benign[own], scores[own])
        figures[name] = {
            "AUROC": auroc(benign | ~benign),
            **{f"TPR@{fpr}": above(scores[benign], fpr) for fpr in FPRS},
            **{f"FPR@{fpr}": float((scores[benign] > numpy.quantile(calm, 1 - float(fpr))).mean()) for fpr in FPRS},
            "classes": {str(label): auroc(benign | (labels == label)) for label in sorted(set(labels[~benign]))},
        }
    return figures


def halves_of(benign):
    return [benign[half::2] for half in (0, 1)]


def of_folds(flowml, labels, benign, attacks, scratch):
    """The rates of flowml's k-means in all benign rows, each scored by a model of the other folds, as a line of text."""
    folds = [benign[fold::FOLDS] for fold in range(FOLDS)]
    rows, alarms = 0, dict.fromkeys(FPRS, 0.0)
    for judged in folds:
        learnt = [path for path in benign if path not in judged]
        figures = by_flowml(flowml, labels, learnt, [*judged, *attacks], scratch, ["kmeans"])["flowml kmeans"]
        rows += figures["rows"]
        for fpr in FPRS:
            alarms[fpr] += figures[f"FPR@{fpr}"] * figures["rows"]
    shares = ", ".join(f"{100 * alarms[fpr] / rows:.3f} % at {100 * float(fpr):g} %" for fpr in FPRS)
    return f"{FOLDS} folds, flowml kmeans: of {rows} benign rows {shares}"


def of_divisions(flowml, given, benign, attacks, number):
    """Prints the figures of flowml's k-means over random divisions of the benign captures."""
    divisions = []
    with tempfile.TemporaryDirectory() as name:
        labels = Path(name) / "labels.csv"
        label_list(given, labels)
        for seed in range(1, number + 1):
            halves = halves_of(random.Random(seed).sample(benign, len(benign)))
            measure = lambda learnt, judged: by_flowml(flowml, labels, learnt, [*judged, *attacks], Path(name), ["kmeans"])
            both = [measure(*order)["flowml kmeans"] for order in (halves, halves[::-1])]
            divisions.append([figures | figures["classes"] for figures in both])
    print(f"{number} divisions{'mean':>21}{'deviation':>11}{'rounds with 0':>15}")
    for figure in (name for name in divisions[0][0] if name not in ("classes", "rows")):
        values = numpy.array([[figures[figure] for figures in both] for both in divisions])
        print(f"{figure:<22}{values.mean():>11.4f}{values.mean(axis=1).std():>11.4f}{(values == 0).sum():>15}")


def main():
    flowml, folder = sys.argv[1], Path(sys.argv[2]).resolve()
    given = inputs(folder)
    is_benign = lambda line: line is None or line["label"] == BENIGN
    benign = [path for path, line in given if is_benign(line)]
    attacks = [path for path, line in given if not is_benign(line)]
    if len(sys.argv) > 3:
        return of_divisions(flowml, given, benign, attacks, int(sys.argv[3]))
    halves = halves_of(benign)
    rounds = []
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        labels = scratch / "labels.csv"
        label_list(given, labels)
        table = {}
        for path, line in given:
            rows, *ends = flows(flowml, path, scratch)
            table[path] = rows, numpy.array(labels_of(line, *ends), dtype=object)
        for learnt, judged in (halves, halves[::-1]):
            figures = by_flowml(flowml, labels, learnt, [*judged, *attacks], scratch)
            own, truth = zip(*(table[path] for path in [*judged, *attacks]))
            train = numpy.concatenate([table[path][0] for path in learnt])
            rounds.append(figures | by_peers(train, numpy.concatenate(own), numpy.concatenate(truth)))
        in_folds = of_folds(flowml, labels, benign, attacks, scratch)
    mean = lambda of: numpy.mean([of(figures) for figures in rounds])
    numbers = ["AUROC", *(f"{rate}@{fpr}" for rate in ("TPR", "FPR") for fpr in FPRS)]
    print(f"{'detector':<30}" + "".join(f"{number:>11}" for number in numbers))
    for name in rounds[0]:
        print(f"{name:<30}" + "".join(f"{mean(lambda figures: figures[name][number]):>11.4f}" for number in numbers))
    labels = list(rounds[0]["flowml kmeans"]["classes"])
    print(f"\n{'AUROC of':<30}" + "".join(f"{label:>16}" for label in labels))
    for name in rounds[0]:
        values = (mean(lambda figures: figures[name]["classes"][label]) for label in labels)
        print(f"{name:<30}" + "".join(f"{value:>16.4f}" for value in values))
    print(f"\n{in_folds}")


if __name__ == "__main__":
    main()
