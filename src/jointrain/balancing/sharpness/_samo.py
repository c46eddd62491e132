from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from jointrain.balancing._balancer import Balancer
from jointrain.balancing._checks import check_number, check_positive
from jointrain.balancing._sharpness_aware import Landscape, Move, SharpnessAware


class SAMO(SharpnessAware):
    r"""Take gradients uphill of the mean loss and, by two forward passes, of the task's own (SAM).

    Minima that are flat for all tasks are sought by sharpness-aware minimisation: task i's
    gradient is taken where its loss is larger nearby, and another method aggregates the tasks'.

    .. math:: d_i = \nabla L_i(\theta + \epsilon_i), \qquad
        \epsilon_i = \rho \frac{m_i}{\lVert m_i \rVert}, \qquad
        m_i^l = (1 - \beta)\, g_0^l
        + \beta \lVert g_0^l \rVert \frac{z_i^l}{\lVert z_i^l \rVert}

    for each tensor l of the shared parameters, with :math:`g_0` the gradient of the mean loss and

    .. math:: z_i = \frac{L_i(\theta + \mu u_i) - L_i(\theta - \mu u_i)}{2 \mu}\, u_i, \qquad
        u_i \sim \mathcal{N}(0, I).

    The task's own parameters move by :math:`\rho` along their part of :math:`g_0`.

    Args:
        balancer: What aggregates the :math:`d_i`: a method by gradients or by values of losses, or
            its name. The authors' scripts have FairGrad; ``"equal"`` is their linear scalarisation.
        radius: :math:`\rho`, > 0. The authors' scripts have 0.001 (QM9: 0.00001).
        local_share: :math:`\beta`, from 0 to 1; the paper's :math:`\alpha` is one minus it. The
            authors' scripts have 0.5 (QM9: 0.9).
        smoothing: :math:`\mu`, > 0. The authors' scripts have 0.01.
        seed: Seed of the :math:`u_i`.

    Shape:
        moves: one for each task, a tensor per parameter.

    Raises:
        InvalidInputError: A hyper-parameter is out of range, or `balancer` can't aggregate.

    State: a random generator, and that of `balancer`. Cost: with t tasks t + 1 backward passes,
        3 t + 1 further forward passes, t gradients in memory.
    Source: Ban, Subramani, Ji, "SAMO: a lightweight sharpness-aware approach for multi-task
        optimization with joint global-local perturbation", ICCV 2025,
        https://arxiv.org/abs/2507.07883, as in the authors' code
        (https://github.com/OptMN-Lab/SAMO). Written anew.
    Differs from the source: the losses for :math:`z_i` are those of training, with the step's
        dropout and statistics of the batch, where the authors switch the network to evaluation;
        the aggregated update is neither multiplied by t nor cut to length 1. No ASAM scale.

    Examples:
        >>> import torch
        >>> from jointrain.balancing import backward
        >>> x = torch.tensor([3.0, 4.0], requires_grad=True)
        >>> sharp = SAMO("equal", radius=1.0, local_share=0.0)
        >>> _ = backward(lambda: [x.square().sum()], sharp, shared=[x])
        >>> [round(g, 3) for g in x.grad.tolist()]
        [7.2, 9.6]
    """

    name = "samo"
    random = True

    def __init__(
        self,
        balancer: Balancer | str = "fairgrad",
        *,
        radius: float = 0.001,
        local_share: float = 0.5,
        smoothing: float = 0.01,
        seed: int = 0,
    ) -> None:
        super().__init__(balancer, seed=seed)
        self.radius = check_positive(radius, "radius")
        self.local_share = check_number(local_share, "local_share", low=0.0, high=1.0)
        self.smoothing = check_positive(smoothing, "smoothing")

    def moves(self, landscape: Landscape) -> Iterator[Move]:
        """Yield the moves uphill of the mean loss and of each task's."""
        ahead = landscape.trained.gradient(torch.stack(landscape.losses).mean())
        for k in range(len(landscape.losses)):
            mixed = list(ahead)
            for i, local in zip(landscape.shared, self._estimate(landscape, k), strict=True):
                length, own = (torch.linalg.vector_norm(x) for x in (ahead[i], local))
                local = local * torch.where(own > 0, length / own, 0.0)
                mixed[i] = (1 - self.local_share) * ahead[i] + self.local_share * local
            yield Move(landscape.uphill(mixed, k, self.radius))

    def _estimate(self, landscape: Landscape, task: int) -> list[Tensor]:
        """Return the gradient of a task's loss as a difference of two losses tells it."""
        noise = self._noise(landscape)
        sides = []
        for step in (self.smoothing, -self.smoothing):
            with landscape.trained.shifted(noise, step):
                sides.append(landscape.total(landscape.again()[task].detach()))
        slope = (sides[0] - sides[1]) / (2 * self.smoothing)
        return [noise[i] * slope.to(noise[i]) for i in landscape.shared]

    def _noise(self, landscape: Landscape) -> list[Tensor]:
        """Return normal numbers for the shared parameters, zeros for the others."""
        found = [torch.zeros_like(p) for p in landscape.trained.parameters]
        for i in landscape.shared:
            # on the CPU in float32: the same numbers on any device and in any precision
            found[i].copy_(
                torch.randn(found[i].shape, generator=self.generator, dtype=torch.float32)
            )
        return found
