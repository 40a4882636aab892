"""Measures how well scikit-learn's detectors on NFStream's features detect attacks in captures, for comparison with flowml.

Arguments, one of:
    corpus FOLDER      the folder of `cargo xtask corpus`: trains on train/normal.pcap, scores both captures of test
    captures FOLDER [FILE]...
                       a folder with labels.csv (file, label): three folds, to which captures are assigned label by label.
                       A named FILE is in the training set of each fold, and is not scored

Prints a table in the form of `flowml eval`. Rows are NFStream's flows with its own timeouts and statistics.
"""

import csv
import datetime
import ipaddress
import pathlib
import sys
import tomllib

import numpy
from nfstream import NFStreamer
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM

BENIGN = "benign"
FOLDS = 3
# The time of the one-class SVM is quadratic in the rows.
SVM_ROWS = 2000
# Columns of addresses, ports and times: they identify rows or reveal labels.
LEFT_OUT = ("_ip", "_port", "_mac", "_oui", "seen_ms", "id", "vlan_id", "tunnel_id", "expiration_id")
DETECTORS = {
    "isolation-forest": lambda: IsolationForest(random_state=0),
    "one-class-svm": lambda: OneClassSVM(nu=0.05, gamma="scale"),
}


def flows(path, label):
    """The features of a capture's flows, and the label of each."""
    rows, labels = [], []
    streamer = NFStreamer(source=str(path), statistical_analysis=True, n_dissections=0, accounting_mode=1, n_meters=1)
    for flow in streamer:
        values = dict(zip(flow.keys(), flow.values()))
        number = lambda name: isinstance(values[name], (int, float)) and not name.endswith(LEFT_OUT)
        rows.append([float(values[name]) for name in values if number(name)])
        labels.append(label(values))
    return numpy.log1p(numpy.maximum(numpy.array(rows), 0)), numpy.array(labels)


def rules_of(path):
    """Returns a function from a flow to its label. The first matching rule applies, as in `flowml label`."""
    rules = tomllib.loads(pathlib.Path(path).read_text(encoding="utf-8"))["rule"]

    def within(rule, name, address):
        networks = rule.get(name, [])
        networks = networks if isinstance(networks, list) else [networks]
        nets = [ipaddress.ip_network(network, strict=False) for network in networks]
        return not nets or any(ipaddress.ip_address(address) in net for net in nets)

    def holds(rule, flow):
        start = datetime.datetime.fromtimestamp(flow["bidirectional_first_seen_ms"] / 1000, datetime.timezone.utc)
        ends = [(flow["src_ip"], flow["dst_ip"])]
        if rule.get("direction") == "either":
            ends.append((flow["dst_ip"], flow["src_ip"]))
        if not rule["from"] <= start < rule["to"]:
            return False
        return any(within(rule, "src_ip", source) and within(rule, "dst_ip", target) for source, target in ends)

    return lambda flow: next((rule["label"] for rule in rules if holds(rule, flow)), BENIGN)


def judge(train, rows, labels):
    """For each detector, the AUROC over all rows, and for each label the AUROC against the benign rows."""
    scaler = StandardScaler().fit(train)
    train, rows = scaler.transform(train), scaler.transform(rows)
    found = {}
    for name, detector in DETECTORS.items():
        some = numpy.random.default_rng(0).permutation(len(train))[:SVM_ROWS] if "svm" in name else slice(None)
        scores = -detector().fit(train[some]).score_samples(rows)
        normal = labels == BENIGN
        auroc = lambda own: roc_auc_score((own & ~normal)[own], scores[own])
        classes = sorted(set(labels[~normal]))
        found[name] = {"all": auroc(labels == labels)} | {c: auroc(normal | (labels == c)) for c in classes}
    return found


def corpus(folder):
    test = pathlib.Path(folder, "test")
    label = rules_of(test / "attacks.toml")
    train, _ = flows(pathlib.Path(folder, "train", "normal.pcap"), lambda flow: BENIGN)
    parts = [flows(test / name, label) for name in ("attacks.pcap", "normal.pcap")]
    return [judge(train, *(numpy.concatenate(part) for part in zip(*parts)))]


def captures(folder, *trained_on):
    folder, trained_on = pathlib.Path(folder), [pathlib.Path(path) for path in trained_on]
    given = [flows(path, lambda flow: BENIGN)[0] for path in trained_on]
    with open(folder / "labels.csv", encoding="utf-8") as listed:
        lines = list(csv.DictReader(listed))
    label_of = {}
    for line in lines:
        for path in sorted(set(folder.glob(line["file"])) - set(trained_on)):
            label_of.setdefault(path, line["label"])
    parts, dealt = [], {}
    for path in sorted(label_of, key=lambda path: (len(path.parts), path)):
        label = label_of[path]
        dealt[label] = dealt.get(label, -1) + 1
        parts.append((dealt[label] % FOLDS, *flows(path, lambda flow, label=label: label)))
    found = []
    for fold in range(FOLDS):
        learnt = [rows[labels == BENIGN] for number, rows, labels in parts if number != fold and (labels == BENIGN).any()]
        own = [(rows, labels) for number, rows, labels in parts if number == fold]
        found.append(judge(numpy.concatenate(given + learnt), *(numpy.concatenate(part) for part in zip(*own))))
    return found


def main():
    kind, *folders = sys.argv[1:]
    found = {"corpus": corpus, "captures": captures}[kind](*folders)
    classes = sorted({name for fold in found for figures in fold.values() for name in figures} - {"all"})
    print(f"{'AUROC':<20}" + "".join(f"{name:>18}" for name in DETECTORS))
    for name in ["all"] + classes:
        means = [numpy.mean([fold[own][name] for fold in found if name in fold[own]]) for own in DETECTORS]
        print(f"{name:<20}" + "".join(f"{mean:>18.4f}" for mean in means))


if __name__ == "__main__":
    main()
