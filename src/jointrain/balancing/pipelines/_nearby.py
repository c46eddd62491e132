"""The pipeline of sharpness-aware methods: gradients at moved parameters, then another method's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from jointrain.balancing._accumulation import Accumulated
from jointrain.balancing._arguments import Losses, stacked
from jointrain.balancing._balanced_step import BalancedStep
from jointrain.balancing._balancer import Balancer, MovableParameters
from jointrain.balancing._block_order import wants_walks
from jointrain.balancing._call import Call
from jointrain.balancing._recomputed import Draws, as_before
from jointrain.balancing._sharpness_aware import Landscape, Row, SharpnessAware
from jointrain.balancing.engine import Gradients, Step, Walk, is_finite
from jointrain.balancing.pipelines._parts import (
    Memory,
    Without,
    raise_if_asked,
    refuse_complex,
)
from jointrain.errors import InvalidInputError


def by_nearby(
    call: Call, balancer: SharpnessAware, run: Callable[[Call], BalancedStep]
) -> BalancedStep | Without:
    """Take each task's gradient where the method says; `run` lets another method aggregate them."""
    kind = type(balancer).__name__
    if call.given.train is None:
        raise InvalidInputError(
            f"{kind} takes gradients at moved weights, for which the losses are computed again. "
            f"Pass them as a function: `backward(lambda: losses_of(net(x)), {kind}())`."
        )
    step = call.step()
    refuse_complex(step, balancer)
    if step.inputs:
        raise InvalidInputError(
            f"{kind} cannot give an input its gradient, which it has at several weights. Detach "
            "the inputs, or name them in `shared` or `own` if they are parameters."
        )
    landscape = _landscape(call, step, call.given.train)
    memory = Memory(call, may_fail=True)
    here, there = _gradients(balancer, landscape)
    if not call.may_overflow:
        bad = _bad(landscape, there)
        if bad:
            memory.restore()
            raise_if_asked(call, bad)
            return Without(bad)
    held: list[Gradients] = []
    aggregations = balancer.aggregations(here, there)
    walks = []
    if any(wants_walks(one) for one, _ in aggregations):
        walks = step.walks(step.shared)
    results = [run(_call_of(call, landscape, one, rows, walks, held)) for one, rows in aggregations]
    overflow = any(result.overflow for result in results)
    if overflow:
        memory.restore()
    call.add_to_grad(*held)
    # two weighted sums are none
    found = results[0] if len(results) == 1 else replace(results[0], weights=None)
    return replace(found, gradient_method="at moved weights", overflow=overflow)


def _landscape(call: Call, step: Step, train: Callable[[], Losses]) -> Landscape:
    """Return the losses as a function of the parameters, times the factor of the scaler."""
    tensors: dict[int, Tensor] = {}
    for leaf in [*step.shared, *(leaf for leaves in step.own for leaf in leaves)]:
        tensors.setdefault(id(leaf.tensor), leaf.tensor)
    places = {key: i for i, key in enumerate(tensors)}
    draws = Draws() if call.draws is None else call.draws

    def scaled(values: list[Tensor]) -> list[Tensor]:
        return [value * factor for value, factor in zip(values, call.factors(), strict=True)]

    def again() -> list[Tensor]:
        with as_before(draws):
            return scaled(call.again(train, "train"))

    together, parameters = call.together, list(tensors.values())
    return Landscape(
        MovableParameters(parameters) if together is None else together.parameters(parameters),
        # losses that were handed over may have been computed with other draws
        again() if call.draws is None else scaled(call.values),
        again,
        (lambda part: part) if together is None else together.agreement.ranks.add_up,
        [places[id(leaf.tensor)] for leaf in step.shared],
        [[places[id(leaf.tensor)] for leaf in leaves] for leaves in step.own],
    )


def _gradients(balancer: SharpnessAware, landscape: Landscape) -> tuple[list[Row], list[Row]]:
    """Return the tasks' gradients here, if the method has them, and at the moved parameters."""
    here, there = [], []
    for k, move in enumerate(balancer.moves(landscape)):
        if move.here is not None:
            here.append(move.here)
        with landscape.trained.shifted(move.direction, 1.0):
            there.append(landscape.trained.gradient(landscape.again()[k]))
    return here, there


def _bad(landscape: Landscape, there: list[Row]) -> Sequence[int]:
    """Return the tasks whose gradient isn't finite: here, or else at the moved parameters."""
    moved = [k for k, row in enumerate(there) if not all(map(is_finite, row))]
    if not moved:
        return []
    rows = [landscape.trained.gradient(v, retain_graph=True) for v in landscape.again()]
    return [k for k, row in enumerate(rows) if not all(map(is_finite, row))] or moved


def _call_of(
    call: Call,
    landscape: Landscape,
    balancer: Balancer,
    rows: list[Row],
    walks: Sequence[Walk],
    held: list[Gradients],
) -> Call:
    """Return the call of a method on gradients that are known, which adds its update to `held`."""
    parameters = landscape.trained.parameters
    shared = set(landscape.shared)
    kept = Accumulated({}, call.scale)
    kept.parameters = {id(p): (p, i in shared) for i, p in enumerate(parameters)}
    kept.walks = dict(zip(call.names, walks, strict=False))
    for name, row, own in zip(call.names, rows, landscape.own, strict=True):
        kept.rows[name] = {id(parameters[i]): row[i] for i in (*landscape.shared, *own)}
    values = [torch.zeros_like(value).requires_grad_() for value in call.values]
    return replace(
        call,
        balancer=balancer,
        values=values,
        vector=stacked(values),
        together=None,
        accumulated=kept,
        held=held,
    )
