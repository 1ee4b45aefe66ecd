"""Fast forms of the network's parts, with the same parameters and parameter names as the plain ones.

`accelerate` replaces the class of a plain module by that of its fast form, a subclass that overrides only ``forward``.
The first time a device is used, `self_check` compares both forms on it.
"""

from __future__ import annotations

import logging

from torch import nn

from i2net_bundle.networks.decoder import ImplicitDecoder
from i2net_bundle.networks.fast.decoder import FastImplicitDecoder
from i2net_bundle.networks.fast.head import FastSkipHead
from i2net_bundle.networks.fast.self_check import disagreement
from i2net_bundle.networks.heads import SkipHead

logger = logging.getLogger("i2net.networks")

FAST_FORMS: dict[type[nn.Module], type[nn.Module]] = {ImplicitDecoder: FastImplicitDecoder, SkipHead: FastSkipHead}
"""Class of a plain module to the class of its fast form."""


def accelerate(network: nn.Module) -> nn.Module:
    """Switch the parts of a network to their fast forms, in place, if both forms agree on its device.

    Parameters, buffers and their names stay the same. A network without such parts is returned unchanged.

    Args:
        network: any network, on the device it will run on.

    Returns:
        the network.
    """
    plain = [module for module in network.modules() if type(module) in FAST_FORMS]
    if not plain:
        return network
    device = next(network.parameters()).device
    fault = disagreement(device)
    if fault is not None:
        logger.warning(f"{device}: using the plain form of the network instead of the fast one: {fault}")
        return network
    for module in plain:
        module.__class__ = FAST_FORMS[type(module)]
    return network
