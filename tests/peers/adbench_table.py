"""Converts a dataset of ADBench (.npz with X and y) to CSV with the columns x0, x1, … and label.

Arguments: the .npz file and the CSV file.
"""

import sys

import numpy


def main():
    source, target = sys.argv[1:]
    data = numpy.load(source)
    rows, labels = data["X"], data["y"].ravel().astype(int)
    names = [f"x{number}" for number in range(rows.shape[1])]
    numpy.savetxt(
        target,
        numpy.column_stack([rows, labels]),
        fmt=["%.10g"] * len(names) + ["%d"],
        delimiter=",",
        header=",".join([*names, "label"]),
        comments="",
    )


if __name__ == "__main__":
    main()
