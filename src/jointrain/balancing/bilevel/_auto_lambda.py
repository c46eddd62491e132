from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from jointrain.balancing._adam import adam_moments, adam_step
from jointrain.balancing._balancer import BilevelProblem, BilevelWeighting
from jointrain.balancing._checks import check_number, check_positive
from jointrain.errors import InvalidInputError, closest


class AutoLambda(BilevelWeighting):
    r"""Learn the weights for which a training step lowers the primary tasks' held-out losses.

    Auxiliary tasks that help gain weight, those that harm lose it, down to below zero.

    .. math:: \theta' = \theta - \alpha \nabla_\theta \sum_i \lambda_i L_i(\theta), \qquad
        v = \nabla_{\theta'} \sum_{i \in \mathrm{primary}} L_i^{\mathrm{held\ out}}(\theta'),

    .. math:: \frac{\partial}{\partial \lambda_i} \approx
        -\alpha \frac{L_i(\theta + \epsilon v) - L_i(\theta - \epsilon v)}{2 \epsilon}, \qquad
        \epsilon = \frac{0.01}{\lVert v \rVert}

    Args:
        tasks: Number or names of the tasks; by default fixed at `bind` or at the first step.
        primary: Names of the tasks that count on held-out data, or one name (``"0"``, ``"1"``, ...
            for tasks without names). None means all.
        initial_weight: Where all :math:`\lambda_i` start. Paper default 0.1.
        step_size: Learning rate of Adam for :math:`\lambda`, > 0. Paper default 0.0001 (NYUv2).
        inner_step_size: :math:`\alpha`, > 0; the paper takes the network's learning rate, which is
            0.1 for SGD on NYUv2.

    Shape:
        returns: [t]. Weights can be negative.

    Raises:
        InvalidInputError: A hyper-parameter is out of range, or a primary task is none of the
            tasks.

    State: buffers `task_weights`, [T], `moments`, [3, T], and `is_primary`, [T]. Cost: two further
        backward passes and three further forward passes.
    Source: Liu, James, Davison, Johns, "Auto-Lambda: disentangling dynamic task relationships",
        TMLR 2022, https://arxiv.org/abs/2202.03091, the finite differences of its section 4;
        radius 0.01 as in the authors' code. Written from the paper.
    Differs from the source: the virtual step is of plain gradient descent, without the momentum and
        weight decay of the network's optimiser. Absent tasks keep their weight; a step without any
        primary task, or with a vanishing held-out gradient, changes none.

    Examples:
        >>> import torch
        >>> theta = torch.zeros(1, requires_grad=True)
        >>> goals = torch.tensor([1.0, 1.0, -1.0])
        >>> problem = BilevelProblem(
        ...     (theta - goals).square(), [theta], lambda: (theta - goals).square(),
        ...     lambda: (theta - goals).square(),
        ... )
        >>> balancer = AutoLambda(3, primary=["0"], step_size=0.05)
        >>> [round(w, 3) for w in balancer.weights(problem).tolist()]
        [0.15, 0.15, 0.05]
    """

    name = "auto-lambda"
    task_state = True
    per_task = ("primary",)
    plain_for_one_task = False
    non_negative = False
    scale_free = False
    task_weights: Tensor
    moments: Tensor
    is_primary: Tensor

    def __init__(
        self,
        tasks: int | Sequence[str] | None = None,
        *,
        primary: str | Sequence[str] | None = None,
        initial_weight: float = 0.1,
        step_size: float = 1e-4,
        inner_step_size: float = 0.1,
    ) -> None:
        super().__init__()
        names = [primary] if isinstance(primary, str) else primary
        self.primary: tuple[str, ...] | None = None if names is None else tuple(names)
        if self.primary == ():
            message = "`primary` must name at least one task, got none."
            raise InvalidInputError(f"{message} Pass None for all tasks.")
        self.initial_weight = check_number(initial_weight, "initial_weight")
        self.step_size = check_positive(step_size, "step_size")
        self.inner_step_size = check_positive(inner_step_size, "inner_step_size")
        self.bind(tasks)

    def allocate(self, n_tasks: int) -> None:
        """Set the weights back to their start."""
        names = self.task_names or ()
        for name in self.primary or ():
            if name not in names:
                message = f"`primary` must name tasks of {list(names)}, got {name!r}"
                raise InvalidInputError(f"{message}{closest(name, names)}.")
        primary = [self.primary is None or name in self.primary for name in names]
        self.register_buffer("is_primary", torch.tensor(primary))
        start = torch.full((n_tasks,), self.initial_weight, dtype=torch.float64)
        self.register_buffer("task_weights", start)
        self.register_buffer("moments", adam_moments(n_tasks))

    def weights(self, problem: BilevelProblem) -> Tensor:
        """Return the weights [t] after one step of Adam along their meta-gradient."""
        present = self.present(len(problem.losses))
        gradient = self._meta_gradient(problem, present)
        if gradient is not None:
            adam_step(self.task_weights, gradient, self.moments, present, step_size=self.step_size)
        return self.task_weights[present]

    def _meta_gradient(self, problem: BilevelProblem, present: Tensor) -> Tensor | None:
        """Return the derivative of the held-out loss after a step by the weights, [t]."""
        primary = self.is_primary[present]
        if not bool(primary.any()):
            return None
        weights = self.task_weights[present].to(problem.losses)
        step = problem.gradient((weights * problem.losses).sum(), retain_graph=True)
        with problem.shifted(step, -self.inner_step_size):
            held_out = problem.held_out()
            ahead = problem.gradient((primary.to(held_out) * held_out).sum())
        length = float(torch.stack([d.double().square().sum().cpu() for d in ahead]).sum().sqrt())
        if not 0.0 < length < torch.inf:
            return None
        radius = 0.01 / length
        sides = []
        for sign in (1.0, -1.0):
            with problem.shifted(ahead, sign * radius), torch.no_grad():
                sides.append(problem.train().to(self.task_weights))
        gradient = -self.inner_step_size * (sides[0] - sides[1]) / (2 * radius)
        return gradient if bool(gradient.isfinite().all()) else None
