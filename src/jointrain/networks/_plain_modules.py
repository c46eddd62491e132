"""Whether modules compute what their class says, so that others can compute it in their place."""

from __future__ import annotations

from functools import lru_cache

from torch import nn

_HOOKS = (
    "_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks",
    "_state_dict_pre_hooks", "_state_dict_hooks",
    "_load_state_dict_pre_hooks", "_load_state_dict_post_hooks",
)  # fmt: skip


def why_not_plain(module: nn.Module) -> str | None:
    """Return what about a module its class does not tell, None if nothing.

    Args:
        module: It, and all modules in it.
    """
    for part in module.modules():
        reason = why_not_plain_itself(part)
        if reason is not None:
            return reason
        for parameter in part._parameters.values():
            if parameter is None:
                continue
            if type(parameter) is not nn.Parameter:
                return f"a weight of the type {type(parameter).__name__}"
            if parameter._backward_hooks or parameter._post_accumulate_grad_hooks:
                return "hooks"
    return None


def why_not_plain_itself(module: nn.Module) -> str | None:
    """Return the same of a module without its weights and the modules in it."""
    held = vars(module)
    if any(held.get(hooks) for hooks in _HOOKS):
        return "hooks"
    if replaced_methods(module) or module._compiled_call_impl is not None:
        return f"a {type(module).__name__} with a method of its own"
    return None


def replaced_methods(thing: object) -> set[str]:
    """Return the names of what an object has in place of methods of its class."""
    methods = _methods(type(thing))  # type: ignore[arg-type]
    return methods.intersection(vars(thing))


@lru_cache(maxsize=256)
def _methods(kind: type) -> set[str]:
    return {name for name in dir(kind) if callable(getattr(kind, name, None))}
