r"""Task vectors: what training a task has added to each weight, and ways to make one of several.

A state is a mapping of names to tensors, all states of a call with the same names and shapes. With
:math:`\theta_0` the weights before training and :math:`\theta_i` those after training task i, its
task vector is :math:`\tau_i = \theta_i - \theta_0`; w_i are the tasks' weights. Nothing given is
changed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from jointrain.errors import InvalidInputError

State = Mapping[str, Tensor]


def task_vector(before: State, after: State) -> dict[str, Tensor]:
    r"""Return :math:`\tau = \theta_i - \theta_0`; half precision becomes float32.

    Source: Ilharco et al., "Editing Models with Task Arithmetic", ICLR 2023, section 2.
    """
    return {name: _wide(after[name]) - _wide(start) for name, start in before.items()}


def moved(before: State, vector: State, coefficient: float = 1.0) -> dict[str, Tensor]:
    r"""Return :math:`\theta_0 + \lambda \tau`, each tensor of the type that it had before."""
    return {
        name: (_wide(start) + coefficient * vector[name]).to(start.dtype)
        for name, start in before.items()
    }


def weighted_sum(vectors: Sequence[State], weights: Sequence[float]) -> dict[str, Tensor]:
    r"""Return :math:`\sum_i w_i \tau_i`: task arithmetic.

    Source: Ilharco et al., "Editing Models with Task Arithmetic", ICLR 2023, section 2 (all weights
        1, then one coefficient for the sum).
    """
    rows, shapes = _flat(vectors)
    return _shaped(_column(rows, weights).mul(rows).sum(0), shapes)


def weighted_mean(vectors: Sequence[State], weights: Sequence[float]) -> dict[str, Tensor]:
    r"""Return :math:`\sum_i w_i \tau_i / \sum_i w_i`, which leads to the mean of the weights.

    Source: Wortsman et al., "Model soups: averaging weights of multiple fine-tuned models improves
        accuracy without increasing inference time", ICML 2022, section 2 (uniform soup).
    """
    total = math.fsum(weights)
    return weighted_sum(vectors, [weight / total for weight in weights])


def trimmed(vector: State, density: float) -> dict[str, Tensor]:
    """Return a task vector with all but its largest values by magnitude set to 0.

    Args:
        vector: The task vector; all of its tensors are ranked together.
        density: Share of the values that is kept, in (0, 1]: ``int(density * p)`` of p, at least
            one. Among equal ones those that come first are kept.

    Source: Yadav et al., "TIES-Merging: Resolving Interference When Merging Models", NeurIPS 2023,
        section 4.2, step 1.
    """
    (values,), shapes = _flat([vector])
    count = max(1, int(density * len(values)))
    order = values.abs().argsort(descending=True, stable=True)
    kept = torch.zeros_like(values)
    kept[order[:count]] = values[order[:count]]
    return _shaped(kept, shapes)


def sign_elected_mean(vectors: Sequence[State], weights: Sequence[float]) -> dict[str, Tensor]:
    r"""Return for each value the mean over the tasks that move it in the elected direction.

    The direction :math:`\gamma` is the sign of :math:`\sum_i w_i \tau_i`, and the value the
    weighted mean of those :math:`\tau_i` whose sign is :math:`\gamma`; 0 if :math:`\gamma` is 0.

    Source: Yadav et al., "TIES-Merging: Resolving Interference When Merging Models", NeurIPS 2023,
        section 4.2, steps 2 and 3.
    Differs from the source: weights of the tasks, which are 1 there. The authors' code gives values
        whose sum is exactly 0 the sign that is the more frequent one in the network; here they
        stay 0, as in the paper's formula.
    """
    rows, shapes = _flat(vectors)
    column = _column(rows, weights)
    sign = column.mul(rows).sum(0).sign()
    agree = (rows.sign() == sign) & (sign != 0)
    share = column * agree  # [t, p]
    total = share.sum(0)
    mean = (share * rows).sum(0) / torch.where(total > 0, total, 1.0)
    return _shaped(mean, shapes)


def dropped(vector: State, density: float, generator: torch.Generator) -> dict[str, Tensor]:
    r"""Return a task vector of which random values are 0 and the others divided by `density`.

    Its expectation is the task vector.

    Args:
        vector: The task vector.
        density: Probability of keeping a value, in (0, 1]; 1 - p in the paper.
        generator: Source of the choice, on the CPU.

    Source: Yu et al., "Language Models are Super Mario: Absorbing Abilities from Homologous Models
        as a Free Lunch", ICML 2024, section 3.2 (DARE).
    """
    found = {}
    for name, values in vector.items():
        drawn = torch.rand(values.shape, generator=generator, dtype=torch.float64)
        kept = (drawn < density).to(values.device)
        found[name] = torch.where(kept, values / density, 0.0)
    return found


def _wide(tensor: Tensor) -> Tensor:
    """Return a tensor in at least float32: differences of half-precision weights would be lost."""
    return tensor.detach().to(torch.promote_types(tensor.dtype, torch.float32))


def _column(rows: Tensor, weights: Sequence[float]) -> Tensor:
    """Return the weights as a column, [t, 1]."""
    return torch.tensor(list(weights), dtype=rows.dtype, device=rows.device)[:, None]


def _flat(states: Sequence[State]) -> tuple[Tensor, dict[str, torch.Size]]:
    """Return the states as rows of a matrix [t, p], and the shapes of their tensors.

    Raises:
        InvalidInputError: There are none, or they differ in names or shapes.
    """
    if not states or not states[0]:
        raise InvalidInputError("there is nothing to merge: give at least one state with a tensor")
    shapes = {name: value.shape for name, value in states[0].items()}
    for state in states:
        if {name: value.shape for name, value in state.items()} != shapes:
            raise InvalidInputError(
                "states that are merged must have tensors of the same names and shapes"
            )
    return torch.stack([torch.cat([s[name].flatten() for name in shapes]) for s in states]), shapes


def _shaped(values: Tensor, shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    """Return a vector [p] as a state again."""
    parts = torch.split(values, [shape.numel() for shape in shapes.values()])
    return {name: part.view(shapes[name]) for name, part in zip(shapes, parts, strict=True)}
