"""Fits scikit-learn's MiniBatchKMeans on the columns of a Parquet table, and prints the seconds of CPU time of the fit alone."""

import sys
import time

import pandas
from sklearn.cluster import MiniBatchKMeans

table, clusters = sys.argv[1], int(sys.argv[2])
rows = pandas.read_parquet(table).to_numpy()
begun = time.process_time()
MiniBatchKMeans(n_clusters=clusters, random_state=0).fit(rows)
print(time.process_time() - begun)
