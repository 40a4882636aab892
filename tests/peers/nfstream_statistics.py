"""The options with which NFStream computes all statistics of a capture, with one meter."""

STATISTICS = {
    "promiscuous_mode": False,
    "decode_tunnels": False,
    "n_dissections": 0,
    "statistical_analysis": True,
    "splt_analysis": 8,
    "accounting_mode": 1,
    "n_meters": 1,
}
