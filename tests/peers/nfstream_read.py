"""Runs NFStream on a capture with all statistics, and discards its flows.

Argument: the capture. Prints the number of flows, and the number of their packets.
"""

import sys

from nfstream import NFStreamer

from nfstream_statistics import STATISTICS


def main():
    flows, packets = 0, 0
    for flow in NFStreamer(source=sys.argv[1], **STATISTICS):
        flows += 1
        packets += flow.bidirectional_packets
    print(flows, packets)


if __name__ == "__main__":
    main()
