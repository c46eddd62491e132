from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from jointrain.balancing._adam import adam_moments, adam_step
from jointrain.balancing._balancer import BilevelProblem, BilevelWeighting
from jointrain.balancing._checks import check_count, check_positive
from jointrain.balancing._float_range import Cast, in_range
from jointrain.balancing.bilevel._simplex_and_ray import simplex_and_ray_weights
from jointrain.balancing.solvers import min_norm_weights


class FORUM(BilevelWeighting):
    r"""Lower all held-out losses where the weighted training loss is minimal, to first order.

    No Hessian is needed: the constraint is :math:`q = f(\alpha, \theta) - f(\alpha,
    \tilde\theta) \le 0` with :math:`f = \sum_i \mathrm{softmax}(\alpha)_i L_i` the weighted
    training loss and :math:`\tilde\theta` what a few steps of gradient descent on it give. Weights
    and parameters, together z, move along

    .. math:: \sum_i \lambda_i \nabla F_i + \nu \nabla q, \qquad
        \nu = \max\Big( \sum_i \lambda_i \Big( \rho -
        \frac{\langle \nabla q, \nabla F_i \rangle}{\lVert \nabla q \rVert^2} \Big), 0 \Big)

    where :math:`F_i` is the held-out loss of task i, its gradient brought to unit length, and
    :math:`\lambda` on the simplex minimises :math:`\tfrac12 \lVert \sum_i \lambda_i \nabla F_i +
    \nu \nabla q \rVert^2 - \nu \rho \lVert \nabla q \rVert^2`, averaged over the steps.

    Args:
        tasks: Number or names of the tasks; by default fixed at `bind` or at the first step.
        rho: :math:`\rho`, > 0: how fast the constraint has to be approached. Default of LibMTL,
            whose author is one of the paper's, 0.1.
        step_size: Learning rate of Adam for :math:`\alpha`, > 0. Default of LibMTL, 0.001.
        inner_step_size: Step of the gradient descent to :math:`\tilde\theta`, > 0. Default of
            LibMTL, 0.1.
        inner_steps: Number of these steps, >= 1. Default of LibMTL, 5.

    Shape:
        returns: [t], :math:`\nu\, \mathrm{softmax}(\alpha)`, non-negative. The held-out losses'
            part of the update is added to the gradient of all parameters.

    Raises:
        InvalidInputError: A hyper-parameter is out of range.

    State: buffers `logits`, [T], `moments`, [3, T], `task_shares` (the averaged :math:`\lambda`),
        [T], and `epochs`, counted by `end_epoch`. Cost: t + inner_steps + 1 further backward passes
        and inner_steps + 2 further forward passes, t gradients in memory.
    Source: Ye, Lin, Cao, Zhang, Tsang, "A first-order multi-gradient algorithm for multi-objective
        bi-level optimization", ECAI 2024, https://arxiv.org/abs/2401.09257, Alg. 1, Eq. (12) and
        (14); unit length, and averaging with rate :math:`(\text{epoch} + 1)^{-3/4}` from epoch 0,
        as in the authors' code. Written anew.
    Differs from the source: the quadratic problem is the exact dual of "descend with :math:`\langle
        \nabla q, d \rangle \le -\rho \lVert \nabla q \rVert^2`", whose reward of :math:`\nu` the
        authors' code has halved. The descent to :math:`\tilde\theta` ends before a step that
        leaves the weighted training loss above where it began (the authors: above 1e5). Of absent
        tasks the shares stay, those of the present ones are scaled to sum to 1.

    Examples:
        >>> import torch
        >>> theta = torch.zeros(1, requires_grad=True)
        >>> def losses():
        ...     return (theta - torch.tensor([1.0, 3.0])).square()
        >>> problem = BilevelProblem(losses(), [theta], losses, losses)
        >>> weights = FORUM(2).weights(problem)
        >>> [round(w, 4) for w in weights.tolist()], [round(float(g), 4) for g in problem.added]
        ([0.0, 0.0], [-1.0])
    """

    name = "forum"
    task_state = True
    wants_end_epoch = True
    plain_for_one_task = False
    scale_free = False
    logits: Tensor
    moments: Tensor
    task_shares: Tensor
    epochs: Tensor

    def __init__(
        self,
        tasks: int | Sequence[str] | None = None,
        *,
        rho: float = 0.1,
        step_size: float = 1e-3,
        inner_step_size: float = 0.1,
        inner_steps: int = 5,
    ) -> None:
        super().__init__()
        self.rho = check_positive(rho, "rho")
        self.step_size = check_positive(step_size, "step_size")
        self.inner_step_size = check_positive(inner_step_size, "inner_step_size")
        self.inner_steps = check_count(inner_steps, "inner_steps")
        self.bind(tasks)

    def allocate(self, n_tasks: int) -> None:
        """Set the weights equal and go back to the first epoch."""
        self.register_buffer("logits", torch.zeros(n_tasks, dtype=torch.float64))
        self.register_buffer("moments", adam_moments(n_tasks))
        equal = torch.full((n_tasks,), 1.0 / n_tasks, dtype=torch.float64)
        self.register_buffer("task_shares", equal)
        self.register_buffer("epochs", torch.tensor(0))

    def end_epoch(self) -> None:
        """Count the epoch: the averaging of the shares gets slower."""
        if self.task_names is not None:
            self.epochs += 1

    def weights(self, problem: BilevelProblem) -> Tensor:
        """Return the weights [t] of the training losses; the held-out part goes to `problem`."""
        present = self.present(len(problem.losses))
        share = torch.softmax(self.logits[present], dim=0)
        training = (share.to(problem.losses) * problem.losses).sum()
        below = problem.gradient(training, retain_graph=True)
        gap = problem.losses.detach().to(share) - self._losses_below(problem, share).to(share)
        slope = share * (gap - share @ gap)  # of q by the logits, [t]
        held_out = problem.held_out()
        above = [problem.gradient(loss, retain_graph=True) for loss in held_out]
        gramian = _gramian([*above, below], slope)
        if not bool(gramian.isfinite().all()):
            return torch.full_like(share, torch.nan)  # which the caller explains
        length = gramian.diagonal()[:-1].clamp_min(0.0).sqrt()
        unit = torch.cat([1.0 / length.where(length > 0, 1.0), torch.ones(1)]).to(gramian)
        shares, nu = self._multipliers(gramian * unit.outer(unit), present)
        if nu > 0:
            adam_step(self.logits, nu * slope, self.moments, present, step_size=self.step_size)
        part = shares * unit[:-1]
        problem.add_gradient(
            [
                torch.tensordot(part.to(rows[0]), torch.stack(rows), dims=1)
                for rows in zip(*above, strict=True)
            ]
        )
        return nu * share

    def _losses_below(self, problem: BilevelProblem, share: Tensor) -> Tensor:
        """Return the training losses [t] after the inner steps of gradient descent."""
        moved = [torch.zeros_like(p) for p in problem.parameters]
        after, start = problem.losses.detach(), torch.inf
        for k in range(self.inner_steps + 1):
            with problem.shifted(moved, 1.0), torch.set_grad_enabled(k < self.inner_steps):
                losses = problem.train()
                loss = (share.to(losses) * losses).sum()
                value = float(loss.detach())
                if not value <= start:
                    break
                start = value if k == 0 else start
                after = losses.detach()
                if k < self.inner_steps:
                    step = problem.gradient(loss)
                    moved = [m - self.inner_step_size * s for m, s in zip(moved, step, strict=True)]
        return after

    def _multipliers(self, gramian: Tensor, present: Tensor) -> tuple[Tensor, float]:
        """Return the averaged shares of the held-out gradients, [t], and the constraint's nu."""
        squared = float(gramian[-1, -1])
        # a gradient of the constraint that is lost in rounding can't be descended
        ray = squared > 1e-30
        if ray:
            shares = simplex_and_ray_weights(gramian, self.rho * squared)[:-1]
        else:
            shares = min_norm_weights(gramian[:-1, :-1])
        rate = (int(self.epochs) + 1) ** -0.75
        kept = self.task_shares[present]
        kept = kept + rate * (shares.to(kept) - kept)
        self.task_shares[present] = kept
        shares = (kept / kept.sum().clamp_min(1e-12)).to(gramian)
        nu = float(shares @ (self.rho - gramian[-1, :-1] / squared)) if ray else 0.0
        return shares, max(nu, 0.0)


def _gramian(gradients: Sequence[Sequence[Tensor]], slope: Tensor) -> Tensor:
    """Return the inner products of the gradients, [t + 1, t + 1]; only the last has a `slope`."""

    def products(cast: Cast) -> Tensor:
        total = torch.zeros(len(gradients), len(gradients), dtype=torch.float64)
        for parts in zip(*gradients, strict=True):
            rows = cast(torch.stack(parts)).flatten(1)
            total += (rows @ rows.T).to(total)
        return total

    gramian = in_range(products, lambda k: gradients[k])
    gramian[-1, -1] += slope.square().sum().to(gramian)
    return gramian
