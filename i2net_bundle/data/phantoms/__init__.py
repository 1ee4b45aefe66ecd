"""Example data made on the spot: seeded CT and gland phantoms, free of any licence, so nothing is downloaded.

``make_ct_phantoms`` and ``make_gland_phantoms`` write a folder with a Decathlon ``dataset.json``; ``ct_phantom`` and
``gland_phantom`` are the pure functions behind them. The phantoms show that the software works; they are no benchmark.
"""

from i2net_bundle.data.phantoms.ct import ORGANS, ct_phantom, make_ct_phantoms
from i2net_bundle.data.phantoms.glands import PIXEL_SIZE_UM, gland_phantom, make_gland_phantoms

__all__ = ["ORGANS", "PIXEL_SIZE_UM", "ct_phantom", "gland_phantom", "make_ct_phantoms", "make_gland_phantoms"]
