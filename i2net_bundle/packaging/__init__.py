"""Write a trained network as a self-contained bundle."""

from i2net_bundle.packaging.packaged import Weights, package_bundle

__all__ = ["Weights", "package_bundle"]
