"""Prints NFStream's flows of captures as JSON lines. Standard input has the paths of the captures.

The first line of a capture is {"capture": path, "ordered": whether packet times never decrease}. Its flows follow. A capture that
NFStream cannot read has no lines.
"""

import json
import sys

import dpkt
from nfstream import NFStreamer

from nfstream_statistics import STATISTICS


def is_ordered(path):
    with open(path, "rb") as capture:
        latest = 0.0
        for time, _ in dpkt.pcap.UniversalReader(capture):
            if time < latest:
                return False
            latest = time
    return True


def main():
    # All paths are read before the first row is written: the parent process reads rows only after it has written all paths.
    for path in sys.stdin.read().splitlines():
        try:
            ordered = is_ordered(path)
            flows = list(
                NFStreamer(source=path, idle_timeout=120, active_timeout=1800, **STATISTICS)
            )
        # After any error of NFStream there is nothing to compare with.
        except Exception as error:  # pylint: disable=broad-except
            print(f"{path}: {error}", file=sys.stderr)
            continue
        print(json.dumps({"capture": path, "ordered": ordered}))
        for flow in flows:
            print(json.dumps(dict(zip(flow.keys(), flow.values()))))


if __name__ == "__main__":
    main()
