"""`jointrain balancers`, `networks` and `baselines`: the names that flags take."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, TypeVar

from jointrain.cli._flags import JSON
from jointrain.cli._printing import print_json, print_rows
from jointrain.system.terminal_streams import say

if TYPE_CHECKING:
    from jointrain.system.plug_ins import Listed, Names

_Value = TypeVar("_Value")


def balancers(json_output: JSON = False) -> None:
    """List the balancing methods that --balancer takes, with one line each."""
    from jointrain.balancing import BALANCER_NAMES

    listed = _listed(BALANCER_NAMES)
    if json_output:
        print_json({one.name: one.value.summary() for one in listed})
        return
    rows = [
        [one.name, one.value.needs.value, one.value.summary(), one.origin]
        for one in sorted(listed, key=lambda one: one.name)
    ]
    print_rows(f"{len(rows)} balancers", ["name", "needs", "what it does", "from"], rows)


def networks(json_output: JSON = False) -> None:
    """List the networks that --network takes, with one line each and their settings."""
    from jointrain.networks import NETWORK_NAMES

    common = ("width", "depth", "dropout", "input_dropout", "shared_depth")
    listed = _listed(NETWORK_NAMES)
    options = {
        one.name: {key: value for key, value in one.value.settings.items() if key not in common}
        for one in listed
    }
    if json_output:
        told = {
            one.name: {"summary": one.value.summary, "options": options[one.name]} for one in listed
        }
        print(json.dumps(told, ensure_ascii=False, default=repr))
        return
    rows = []
    for one in listed:
        defaults = [f"{k}={'none' if v is None else v}" for k, v in options[one.name].items()]
        rows.append([one.name, one.value.summary, ", ".join(defaults), one.origin])
    print_rows(f"{len(rows)} networks", ["name", "what it is", "options", "from"], rows)


def baselines(json_output: JSON = False) -> None:
    """List the baselines that --baselines takes, with one line each."""
    from jointrain.baselines import BASELINE_NAMES, FIRST_BASELINES

    listed = _listed(BASELINE_NAMES)
    if json_output:
        print_json({one.name: one.value.summary() for one in listed})
        return
    rows = [
        [one.name, one.value.summary(), "yes" if one.name in FIRST_BASELINES else "", one.origin]
        for one in listed
    ]
    print_rows(f"{len(rows)} baselines", ["name", "what it is", "by default", "from"], rows)


def _listed(names: Names[_Value]) -> list[Listed[_Value]]:
    """Return what has a name, and say what can't be used."""
    listed, problems = names.listed()
    for problem in problems:
        say(f"note: {problem}")
    return listed
