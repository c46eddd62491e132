from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from jointrain.balancing._balancer import Direction, JacobianAggregation
from jointrain.balancing._checks import check_count, check_number, check_positive
from jointrain.balancing._float_range import Cast, in_range
from jointrain.balancing.aggregation._blocks import combine, flat, kept_rows
from jointrain.balancing.solvers import Array
from jointrain.errors import InvalidInputError

_EPSILON = 1e-8


class GCond(JacobianAggregation):
    r"""Mend the worst conflict first, by an arbiter: the loser gives way (Gradient Conductor).

    As long as two gradients have a cosine below the weak threshold, the pair with the lowest is
    mended: of winner w and loser l,

    .. math:: g_w \leftarrow g_w - \sin(\alpha) \frac{g_w^\top g_l}{\lVert g_l \rVert^2} g_l,
        \qquad g_l \leftarrow g_l - \sin(\min(\alpha, \tfrac{\pi}{2}))
        \frac{g_w^\top g_l}{\lVert g_w \rVert^2} g_w,

    with an angle :math:`\alpha` from 0 at the weak threshold over :math:`\pi/2` at the main one to
    :math:`\pi` at the critical one, where the winner stays as it is. The winner is the gradient
    with the higher score, a mean of its cosine with its own last one and of its length over what it
    has been (of equal ones the longer); one that has won too often in a row loses.

    Args:
        tasks: Number or names of the tasks; by default fixed at `bind` or at the first step.
        critical, main, weak: Thresholds of the cosine, rising, in [-1, 0]. Defaults of the authors'
            code, -0.8, -0.5 and 0.
        power: Of the way from the main to the critical threshold, > 0. The same, 2.
        stability: Share of the cosine in the score, in [0, 1]. The same, 0.8.
        window: Wins in a row after which a task loses; 0 for no limit. The same, 3.
        decay: Share of the past in the lengths' averages, in [0, 1). The same, 0.95.

    Shape:
        blocks: [t, *shape] each; losses: [t], unused. The weights are at least 1.

    Raises:
        InvalidInputError: A hyper-parameter is out of range, or the thresholds do not rise.

    State: buffers `lengths`, [T] (0 before a task's first step), `winners`, [window], the last
        ones' positions, and for each block the gradients as they were mended at the last step,
        [T, *shape]: as much memory as T gradients. Cost: the Jacobian, three passes over it, and
        up to 2 t products of t x t matrices.
    Source: Limarenko, Studenikina, "GCond: gradient conflict resolution via accumulation-based
        stabilization for large-scale multi-task learning", 2025,
        https://arxiv.org/abs/2509.07252, as in the authors' code (smooth logic). Written anew.
    Differs from the source: gradients are accumulated by ``backward(accumulate="exact")``, and
        momentum is the optimiser's. The lengths' averages start at the first step's, not at 1, and
        nothing is added to a divisor: a factor on all gradients of a run leaves the weights as
        they are, which it does not there. Of equal scores the longer gradient wins, not the first.
        The form in four steps and the variant with Lion are left out.

    Examples:
        >>> import torch
        >>> block = torch.tensor([[1.0, 0.0], [-1.0, 1.0]])
        >>> direction = GCond(2, critical=-0.7).aggregate([block], torch.ones(2))
        >>> [round(w, 6) for w in direction.weights.tolist()]
        [1.0, 1.5]
    """

    name = "gcond"
    task_state = True
    lengths: Tensor
    winners: Tensor

    def __init__(
        self,
        tasks: int | Sequence[str] | None = None,
        *,
        critical: float = -0.8,
        main: float = -0.5,
        weak: float = 0.0,
        power: float = 2.0,
        stability: float = 0.8,
        window: int = 3,
        decay: float = 0.95,
    ) -> None:
        super().__init__()
        self.critical = check_number(critical, "critical", low=-1.0, high=0.0)
        self.main = check_number(main, "main", low=-1.0, high=0.0)
        self.weak = check_number(weak, "weak", low=-1.0, high=0.0)
        if not critical < main < weak:
            raise InvalidInputError(
                f"`critical`, `main` and `weak` must rise, got {critical}, {main} and {weak}."
            )
        self.power = check_positive(power, "power")
        self.stability = check_number(stability, "stability", low=0.0, high=1.0)
        self.window = check_count(window, "window", low=0)
        self.decay = check_number(decay, "decay", low=0.0, high=1.0, strict_high=True)
        self.bind(tasks)

    def allocate(self, n_tasks: int) -> None:
        """Forget lengths and winners."""
        self.register_buffer("lengths", torch.zeros(n_tasks, dtype=torch.float64))
        self.register_buffer("winners", torch.full((self.window,), -1, dtype=torch.int64))

    def aggregate(self, blocks: Sequence[Tensor], losses: Tensor) -> Direction:
        """Return the sum of the mended gradients, and the weights [t] that make it."""
        t = len(losses)
        present = self.present(t).tolist()

        def parts(k: int) -> Iterator[Tensor]:
            return (pair[k // t][k % t] for pair in self._now_and_last(blocks))

        whole = in_range(lambda cast: self._products(blocks, cast), parts).numpy()
        now, past, before = whole[:t, :t], whole[t:, :t], np.diagonal(whole)[t:]
        top = np.sqrt(max(float(np.diagonal(now).max()), 0.0))
        mix = np.eye(t)
        if t > 1 and top > 0.0:
            averages = self._averages(np.sqrt(np.maximum(np.diagonal(now), 0.0)))
            mix = self._mended(now, past, np.sqrt(before), averages, present)
        mending = torch.from_numpy(mix)
        for i, block in enumerate(blocks):
            mended = (mending.to(block) @ flat(block)).view(block.shape)
            self.set_entries(f"kept_rows_{i}", mended)
        weights = mending.sum(0)
        return Direction(combine(blocks, weights), weights)

    def _now_and_last(self, blocks: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Give for each block the gradients and those that were kept, [t, n] each."""
        for i, block in enumerate(blocks):
            rows = flat(block)
            yield rows, flat(kept_rows(self, f"kept_rows_{i}", block)).to(rows)

    def _products(self, blocks: Sequence[Tensor], cast: Cast) -> Tensor:
        """Return the inner products of the gradients and the last ones after a cast, [2 t, 2 t].

        Of the last ones among themselves, those of each with itself alone.
        """
        t = len(blocks[0])
        total = torch.zeros(2 * t, 2 * t, dtype=torch.float64)
        for pair in self._now_and_last(blocks):
            rows, old = map(cast, pair)
            total[:t, :t] += (rows @ rows.T).to(total)
            total[t:, :t] += (old @ rows.T).to(total)
            total[t:, t:] += old.square().sum(1).to(total).diag()
        return total

    def _averages(self, lengths: Array) -> Array:
        """Move the averages of the gradients' lengths and return them, [t]."""
        kept = self.entries("lengths", len(lengths)).cpu().numpy()
        moved = self.decay * kept + (1.0 - self.decay) * lengths
        averages = np.where(kept > 0.0, moved, lengths)
        self.set_entries("lengths", torch.from_numpy(averages))
        return averages

    def _mended(
        self, now: Array, past: Array, before: Array, averages: Array, present: Sequence[int]
    ) -> Array:
        """Return what each mended gradient is made of, a row for each, [t, t].

        Args:
            now: The Gramian, [t, t].
            past: Inner products of the last step's gradients (rows) with these, [t, t].
            before: Lengths of the last step's, [t].
            averages: Lengths of the gradients so far, [t].
            present: The tasks' positions in the state.
        """
        t = len(now)
        mix = np.eye(t)
        for _ in range(2 * t):
            products = mix @ now @ mix.T
            lengths = np.sqrt(np.maximum(np.diagonal(products), 0.0))
            # a square that is left of larger ones is rounding: that gradient is gone
            alive = lengths > 1e-3 * (np.abs(mix) @ np.sqrt(np.diagonal(now)))
            scale = np.divide(1.0, lengths, out=np.zeros(t), where=alive)
            cosines = np.clip(products * scale[:, None] * scale, -1.0, 1.0)
            np.fill_diagonal(cosines, 1.0)
            i, j = divmod(int(cosines.argmin()), t)
            cosine = float(cosines[i, j])
            if cosine >= self.weak - 1e-12:
                break
            pair = [i, j]
            apart = lengths[pair] * before[pair]
            with_last = np.einsum("ki,ki->k", mix[pair], past[pair])
            cosine_with_last = np.divide(with_last, apart, out=np.zeros(2), where=apart > 0.0)
            strength = lengths[pair] / averages[pair]
            scores = self.stability * np.maximum(cosine_with_last, 0.0)
            scores += (1.0 - self.stability) * strength / strength.sum()
            winner, loser = self._verdict(
                pair, list(zip(scores, lengths[pair], strict=True)), present
            )
            angle = self._angle(cosine)
            product = products[winner, loser]
            as_before = mix[[winner, loser]]
            mix[winner] -= np.sin(angle) * product * scale[loser] ** 2 * as_before[1]
            mix[loser] -= (
                np.sin(min(angle, np.pi / 2)) * product * scale[winner] ** 2 * as_before[0]
            )
        return mix

    def _verdict(
        self, pair: Sequence[int], scores: Sequence[tuple[float, float]], present: Sequence[int]
    ) -> tuple[int, int]:
        """Return winner and loser of a pair, and keep who has won."""
        winner, loser = pair if scores[0] >= scores[1] else reversed(pair)
        if self.window:
            if set(self.winners.tolist()) == {present[winner]}:
                winner, loser = loser, winner
            now = torch.tensor([present[winner]], device=self.winners.device)
            self.winners = torch.cat([self.winners[1:], now])
        return winner, loser

    def _angle(self, cosine: float) -> float:
        """Return the angle that a cosine counts as."""
        if cosine >= self.main:
            return np.pi / 2 * (self.weak - cosine) / (self.weak - self.main)
        if cosine <= self.critical:
            return float(np.pi)
        way = (cosine - self.main) / (self.critical - self.main)
        return float(np.pi / 2 * (1 + way**self.power))
