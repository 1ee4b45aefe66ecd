"""Channel names, which decide how an image's values are checked and normalised.

The names are nnU-Net's: "CT" is in Hounsfield units, ``noNorm``, ``zscore``, ``rescale_to_0_1`` and ``rgb_to_0_1`` ask
for that normalisation, and every other name ("T2", "ADC", "PET", …) is of arbitrary units.
"""

from __future__ import annotations

from collections.abc import Sequence

CT = ("CT",)
RGB = ("R", "G", "B")
"""Channels of every 2D image."""
MAX_TISSUE_HU = 3071
"""Largest HU of 12-bit scanners."""

_NORMALIZATIONS = {
    "ct": "window",
    "nonorm": "none",
    "rescaleto01": "rescale",
    "rescale01": "rescale",
    "rgbto01": "rgb",
    "zscore": "z-score",
}


def normalization_of(channel: str) -> str:
    """How a volume's channel is normalised: "window" (CT), "none", "rescale", "rgb" or "z-score".

    >>> [normalization_of(channel) for channel in ("CT", "T2", "noNorm", "rescale_to_0_1")]
    ['window', 'z-score', 'none', 'rescale']
    """
    return _NORMALIZATIONS.get(channel.casefold().replace("_", ""), "z-score")


def is_ct(channel: str) -> bool:
    """Whether a channel contains Hounsfield units."""
    return normalization_of(channel) == "window"


def legal_channels(channels: Sequence[object]) -> tuple[str, ...]:
    """Names of channels, checked.

    Raises:
        ValueError: there are none, or one is not a printable text.
    """
    if isinstance(channels, str) or not channels:
        raise ValueError(f"channels must be a list of names, found {channels!r}")
    for channel in channels:
        if not isinstance(channel, str) or not channel.strip() or not channel.isprintable():
            raise ValueError(f"the name of a channel must be printable text, found {channel!r}")
    return tuple(str(channel).strip() for channel in channels)
