"""Fast forms of the network's parts, with the plain parts' parameters and names.

`accelerate` is the one seam: it gives a plain module the class of its fast form, a subclass that overrides ``forward``
alone. Each device first proves that fast and plain form agree, see `self_check`.
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
"""Plain module to its fast form."""


def accelerate(network: nn.Module) -> nn.Module:
    """Give the parts of a network their fast forms, in place, where these agree with the plain ones on its device.

    Parameters, buffers and their names stay the same. A network without such parts stays as it is.

    Args:
        network: any network, on the device where it will run.

    Returns:
        the network.
    """
    plain = [module for module in network.modules() if type(module) in FAST_FORMS]
    if not plain:
        return network
    device = next(network.parameters()).device
    fault = disagreement(device)
    if fault is not None:
        logger.warning(f"{device}: the fast form is not used here, the plain one is: {fault}")
        return network
    for module in plain:
        module.__class__ = FAST_FORMS[type(module)]
    return network
