"""Runs NFStream on a capture with all statistics, and discards its flows.

Argument: the capture. Prints the number of flows, and the number of their packets.
"""

import sys

from nfstream import NFStreamer


def main():
    flows, packets = 0, 0
    for flow in NFStreamer(
        source=sys.argv[1],
        promiscuous_mode=False,
        decode_tunnels=False,
        n_dissections=0,
        statistical_analysis=True,
        splt_analysis=8,
        accounting_mode=1,
        n_meters=1,
    ):
        flows += 1
        packets += flow.bidirectional_packets
    print(flows, packets)


if __name__ == "__main__":
    main()
