"""Print parameters and multiply-accumulates of the plain networks beside the paper's Table 1.

python -m scripts.network_counts, in the checkout
"""

import torch
from torch.utils.flop_counter import FlopCounterMode

from i2net_bundle.networks import glas_i2net, synapse_i2net

PAPER = {
    ("GlaS", 3): (11.40, 12.30),
    ("GlaS", 4): (11.44, 12.99),
    ("Synapse", 3): (17.43, 32.53),
    ("Synapse", 4): (17.47, 32.99),
}
NETWORKS = {"GlaS": (glas_i2net, (1, 3, 512, 512)), "Synapse": (synapse_i2net, (1, 1, 224, 224))}

if __name__ == "__main__":
    print("| network | K | parameters (M) | paper | matrix work (GMAC) | paper |\n|---|---|---|---|---|---|")
    for (task, num_learners), (parameters, gmac) in PAPER.items():
        build, shape = NETWORKS[task]
        network = build(num_learners=num_learners).eval()
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network(torch.zeros(shape))
        count = sum(parameter.numel() for parameter in network.parameters()) / 1e6
        work = counter.get_total_flops() / 2e9
        print(f"| {task} | {num_learners} | {count:.3f} | {parameters} | {work:.2f} | {gmac} |")
