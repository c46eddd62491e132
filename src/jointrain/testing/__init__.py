"""Checks that anybody can run on balancers, networks and baselines of their own.

Each raises `AssertionError` with what is wrong, and needs no test framework. jointrain's own are
checked by the same functions. The ``..._CHECKS`` are the single checks by name, for
``pytest.mark.parametrize``.
"""

from jointrain.testing._balancer_checks import BALANCER_CHECKS, check_balancer
from jointrain.testing._baseline_checks import BASELINE_CHECKS, check_baseline
from jointrain.testing._jacobians import MATRICES, jacobian, losses
from jointrain.testing._network_checks import NETWORK_CHECKS, check_network
from jointrain.testing._update import update_and_weights

__all__ = [
    "BALANCER_CHECKS",
    "BASELINE_CHECKS",
    "MATRICES",
    "NETWORK_CHECKS",
    "check_balancer",
    "check_baseline",
    "check_network",
    "jacobian",
    "losses",
    "update_and_weights",
]
