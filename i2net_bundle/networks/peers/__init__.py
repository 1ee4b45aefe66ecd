"""The decoders that the paper's Table 1 compares with I²Net, on the same trunks.

Their structures are those whose parameters and operations meet the paper's; see `docs/networks.md` for the rows that
stay open.
"""

from i2net_bundle.networks.peers.network import DECODERS, TRUNKS, peer_network

__all__ = ["DECODERS", "TRUNKS", "peer_network"]
