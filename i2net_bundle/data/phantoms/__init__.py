"""Synthetic example data: seeded phantoms of CT, glands and streets, generated locally and free to use (CC0).

``make_ct_phantoms`` and ``make_gland_phantoms`` write a folder with a Decathlon ``dataset.json``, and
``make_street_phantoms`` one for `i2net_bundle.prepare.prepare_cityscapes`. ``ct_phantom``, ``gland_phantom`` and
``street_phantom`` are the pure functions behind them. Phantoms show that the software works; they are not a benchmark.
"""

from i2net_bundle.data.phantoms.ct import ORGANS, ct_phantom, make_ct_phantoms
from i2net_bundle.data.phantoms.glands import PIXEL_SIZE_UM, gland_phantom, make_gland_phantoms
from i2net_bundle.data.phantoms.streets import make_street_phantoms, street_phantom

__all__ = [
    "ORGANS",
    "PIXEL_SIZE_UM",
    "ct_phantom",
    "gland_phantom",
    "make_ct_phantoms",
    "make_gland_phantoms",
    "make_street_phantoms",
    "street_phantom",
]
