"""Validates rows, JSON lines on standard input, by the JSON Schema in a file. Prints the number of rows by type."""

import collections
import json
import sys

import fastjsonschema

with open(sys.argv[1]) as file:
    validate = fastjsonschema.compile(json.load(file))
counts = collections.Counter()
for line in sys.stdin:
    counts[validate(json.loads(line))["type"]] += 1
print(json.dumps(counts))
