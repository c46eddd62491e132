"""Running statistics of batch normalisation, measured for weights that no training has seen."""

from __future__ import annotations

import torch
from torch.nn.modules.batchnorm import _NormBase

from jointrain.networks import Network
from jointrain.training.sampling import TaskSets


@torch.no_grad()
def measure_running_statistics(network: Network, data: TaskSets) -> None:
    """Set the running means and variances to those of the data at the present weights.

    Layers whose weights are frozen keep theirs. All else is in evaluation mode, so that dropout
    is off; the network is left in evaluation mode.

    Args:
        network: The network.
        data: All rows are gone through once; a batch of one row has no variance and is left out.

    Source: Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization",
        UAI 2018, section 3.2 (for averaged weights); for merged ones: Jordan et al., "REPAIR:
        REnormalizing Permuted Activations for Interpolation Repair", ICLR 2023.
    """
    network.eval()
    layers = [
        layer
        for layer in network.modules()
        if isinstance(layer, _NormBase)
        and layer.track_running_stats
        and (not layer.affine or any(p.requires_grad for p in layer.parameters()))
    ]
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        # without momentum, a layer takes the mean over all batches
        layer.momentum = None
        layer.train()
    for batch in data.once():
        if len(batch.data) > 1:
            network(batch.data.inputs, batch.tasks)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
        layer.eval()
