"""The recipes that `compare` knows by name, in the order in which a budget is spent on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from jointrain.balancing import BALANCERS
from jointrain.errors import InvalidInputError, closest
from jointrain.experiments._recipe import Recipe
from jointrain.networks import NETWORKS
from jointrain.training import AnySchedule
from jointrain.training.merging import merges_by_name
from jointrain.training.sampling import Alternating, Joint, Separate

SEPARATE = "separate"
"""Name of the recipe that all others are compared with."""

FIRST = (SEPARATE, "joint", "alternating")
"""The recipes without which there is no answer."""

FURTHER = (
    "weights-uncertainty",
    "alternating-round-robin",
    "weights-searched",
    "network-mmoe",
    "weights-difficulty",
    "alternating-proportional",
    "weights-size",
    "balancer-upgrad",
    "network-tabm",
    "balancer-imtl-g",
)
"""What a budget pays for after them."""


def default_recipes(base: Recipe | None = None) -> list[Recipe]:
    """Return the recipes that `compare` runs: separate, joint and alternating.

    Args:
        base: Settings that all three share; default `Recipe()`. Its schedule is kept for the recipe
            of the same kind.
    """
    return named_recipes(FIRST, base)


def named_recipes(names: Sequence[str], base: Recipe | None = None) -> list[Recipe]:
    """Return recipes by name.

    Args:
        names: ``separate``, ``joint``, ``alternating``, ``alternating-ORDER`` (such as
            ``alternating-round-robin``), ``weights-RULE`` (``size``, ``difficulty``,
            ``uncertainty``, ``gradients``, ``searched``), ``balancer-NAME`` and ``network-NAME``,
            which train jointly; ``merge-METHOD`` (``mean``, ``arithmetic``, ``ties``, ``dare``).
        base: Settings that all share, but for what their names say; default `Recipe()`.

    Raises:
        InvalidInputError: A name is unknown, or its recipe can't be run.
    """
    base = base or Recipe()
    recipes = [_named(name, base) for name in names]
    for recipe in recipes:
        recipe.check()
    return recipes


def _named(name: str, base: Recipe) -> Recipe:
    schedules: dict[str, AnySchedule] = {
        "separate": Separate(),
        "joint": Joint(),
        "alternating": Alternating(),
    }
    schedules[base.schedule.kind] = base.schedule
    recipe = replace(base, name=name)
    if name in schedules:
        return _joint_layout(replace(recipe, schedule=schedules[name]))
    kind, _, which = name.partition("-")
    if kind == "alternating" and which:
        try:
            return replace(recipe, schedule=Alternating(which.replace("-", "_")))  # type: ignore[arg-type]
        except InvalidInputError as error:
            raise InvalidInputError(f"there is no recipe {name!r}: {error}") from None
    joint = _joint_layout(replace(recipe, schedule=schedules["joint"]))
    if kind == "weights" and which == "uncertainty":
        return replace(joint, weights="equal", balancer="uncertainty", balancer_options=())
    if kind == "weights" and which:
        return replace(joint, weights=which)
    if kind == "balancer" and which:
        return replace(joint, balancer=which, balancer_options=())
    if kind == "network" and which:
        return replace(joint, network=which, network_options=(), shared_depth=None)
    merges = merges_by_name()
    if name in merges:
        return replace(joint, schedule=merges[name])
    known = [*FIRST, *FURTHER, *merges]
    known += [f"balancer-{one}" for one in BALANCERS] + [f"network-{one}" for one in NETWORKS]
    raise InvalidInputError(
        f"there is no recipe {name!r}{closest(name, known)}; known are {', '.join(FIRST)}, "
        "alternating-ORDER, weights-RULE, balancer-NAME, network-NAME and merge-METHOD"
    )


def _joint_layout(recipe: Recipe) -> Recipe:
    """An optimiser per task can't take joint steps over a shared trunk."""
    if recipe.optimizer_layout == "per_task" and isinstance(recipe.schedule, Joint):
        return replace(recipe, optimizer_layout="one")
    return recipe
