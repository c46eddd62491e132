from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from jointrain.balancing._adam import adam_moments, adam_step
from jointrain.balancing._balancer import BilevelProblem, BilevelWeighting
from jointrain.balancing._checks import check_choice, check_positive
from jointrain.balancing.solvers import min_norm_weights


class MOML(BilevelWeighting):
    r"""Learn weights whose training step lowers all tasks' held-out losses, balanced by MGDA.

    The held-out losses after a virtual step are objectives in the weights; these move along the
    shortest combination of their gradients, by which none gets worse.

    .. math:: w = t \cdot \mathrm{softmax}(\alpha), \qquad
        \theta' = \theta - \eta \sum_j w_j \nabla L_j(\theta), \qquad
        \nabla_\alpha F_i(\theta') = -\eta \sum_j
        \left\langle \nabla F_i(\theta'), \nabla L_j(\theta) \right\rangle \nabla_\alpha w_j

    with :math:`F_i` the held-out loss of task i. As the weights enter the step linearly, this is
    the exact derivative without any Hessian.

    Args:
        tasks: Number or names of the tasks; by default fixed at `bind` or at the first step.
        step_size: Learning rate of Adam for :math:`\alpha`, > 0. Authors' default 0.0001.
        inner_step_size: :math:`\eta`, > 0. Authors' default 0.0001, their network's learning rate.
        normalization: What the gradients are divided by for the weights of MGDA, as in
            :class:`~jointrain.balancing.MGDA`, with held-out losses: ``"none"``, ``"l2"``,
            ``"loss"`` or ``"loss+"``. Authors' default ``"loss"``.

    Shape:
        returns: [t], positive, summing to t.

    Raises:
        InvalidInputError: A step size is not above zero, or `normalization` is none of the four.

    State: buffers `logits`, [T], and `moments`, [3, T]. Cost: 2 t further backward passes, one
        further forward pass, t gradients in memory.
    Source: Ye, Lin, Yue, Guo, Xiao, Zhang, "Multi-objective meta learning", NeurIPS 2021,
        https://arxiv.org/abs/2102.07121, Alg. 1 with one inner step, as in the authors' code for
        multi-task learning. Written from the paper.
    Differs from the source: the weights sum to t, not 1, so that the learning rate of the plain
        sum carries over. One step of gradient descent below; the step proper is then on the
        training batch alone, where the authors take training and held-out data together.

    Examples:
        >>> import torch
        >>> theta = torch.zeros(1, requires_grad=True)
        >>> goals = torch.tensor([1.0, 1.0, -1.0])
        >>> problem = BilevelProblem(
        ...     (theta - goals).square(), [theta], lambda: (theta - goals).square(),
        ...     lambda: (theta - 1.0).square().expand(3),
        ... )
        >>> balancer = MOML(3, step_size=0.1, inner_step_size=0.1)
        >>> [round(w, 3) for w in balancer.weights(problem).tolist()]
        [1.064, 1.064, 0.871]
    """

    name = "moml"
    task_state = True
    scale_free = False
    logits: Tensor
    moments: Tensor

    def __init__(
        self,
        tasks: int | Sequence[str] | None = None,
        *,
        step_size: float = 1e-4,
        inner_step_size: float = 1e-4,
        normalization: str = "loss",
    ) -> None:
        super().__init__()
        self.step_size = check_positive(step_size, "step_size")
        self.inner_step_size = check_positive(inner_step_size, "inner_step_size")
        self.normalization = check_choice(
            normalization, "normalization", ("none", "l2", "loss", "loss+")
        )
        self.bind(tasks)

    def allocate(self, n_tasks: int) -> None:
        """Set the weights equal."""
        self.register_buffer("logits", torch.zeros(n_tasks, dtype=torch.float64))
        self.register_buffer("moments", adam_moments(n_tasks))

    def weights(self, problem: BilevelProblem) -> Tensor:
        """Return the weights [t] after one step of Adam along the balanced hyper-gradient."""
        t = len(problem.losses)
        present = self.present(t)
        share = torch.softmax(self.logits[present], dim=0)
        inner, held_out = self._inner_products(problem, t * share)
        softened = t * (torch.diag(share) - share.outer(share))
        slopes = -self.inner_step_size * inner @ softened  # [t, t], a row per held-out loss
        if bool(slopes.isfinite().all()):
            gradient = self._mgda(slopes, held_out) @ slopes
            adam_step(self.logits, gradient, self.moments, present, step_size=self.step_size)
        return t * torch.softmax(self.logits[present], dim=0)

    def _inner_products(self, problem: BilevelProblem, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Return <grad F_i(theta'), grad L_j(theta)>, [t, t], and the held-out losses, [t]."""
        below = [problem.gradient(loss, retain_graph=True) for loss in problem.losses]
        step = [
            torch.tensordot(weights.to(parts[0]), torch.stack(parts), dims=1)
            for parts in zip(*below, strict=True)
        ]
        rows = []
        with problem.shifted(step, -self.inner_step_size):
            held_out = problem.held_out()
            for i, loss in enumerate(held_out):
                above = problem.gradient(loss, retain_graph=i + 1 < len(held_out))
                rows.append(torch.stack([_inner(above, row) for row in below]))
        return torch.stack(rows).to(self.logits), held_out.detach().to(self.logits)

    def _mgda(self, slopes: Tensor, held_out: Tensor) -> Tensor:
        divisor = torch.ones_like(held_out)
        if self.normalization in ("l2", "loss+"):
            divisor = slopes.norm(dim=1)
        if self.normalization.startswith("loss"):
            divisor = divisor * held_out.abs()
        slopes = slopes / divisor.where(divisor > 0, 1.0)[:, None]
        return min_norm_weights((slopes @ slopes.T).cpu()).to(slopes)


def _inner(left: Sequence[Tensor], right: Sequence[Tensor]) -> Tensor:
    """Return the inner product of two gradients, a scalar in float64 on the CPU."""
    parts = [(a * b).sum(dtype=torch.float64).cpu() for a, b in zip(left, right, strict=True)]
    total = torch.stack(parts).sum()
    if not 1e-30 < abs(float(total)) < torch.inf and left[0].dtype != torch.float64:
        # products of 1e20 and 1e-20 are out of float32's range
        return _inner([a.double() for a in left], [b.double() for b in right])
    return total
