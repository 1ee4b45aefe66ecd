"""The decoders that the paper's Table 1 compares with I²Net, on the same trunks.

Their structures match the paper's counts of parameters and operations, except where a decoder says otherwise.
"""

from i2net_bundle.networks.peers.network import DECODERS, TRUNKS, peer_network

__all__ = ["DECODERS", "TRUNKS", "peer_network"]
