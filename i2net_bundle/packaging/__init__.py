"""A trained network as a bundle folder of its own."""

from i2net_bundle.packaging.packaged import Weights, package_bundle

__all__ = ["Weights", "package_bundle"]
