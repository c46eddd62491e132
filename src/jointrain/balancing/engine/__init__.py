"""How the tasks' gradients are got, whatever the graph and however many processes."""

from jointrain.balancing.engine._agreement import (
    Agreement,
    Local,
    Place,
)
from jointrain.balancing.engine._boundary import Boundary
from jointrain.balancing.engine._cotangents import (
    Cotangents,
)
from jointrain.balancing.engine._distributed import (
    DistributedStep,
    distributed,
    sum_after_pass,
    sum_during_pass,
    sum_gradients,
    sum_over_copies,
)
from jointrain.balancing.engine._ghost import real_view
from jointrain.balancing.engine._gradients import (
    Gradients,
    add_to_grad,
    explained,
    grad,
    is_finite,
    no_gradients,
)
from jointrain.balancing.engine._graph import (
    Graph,
    Leaf,
    Walk,
    reached,
    walk,
)
from jointrain.balancing.engine._messages import (
    agree,
    announce_failure,
    digest_of_state,
)
from jointrain.balancing.engine._prepare import NOTHING_SHARED, prepare, tasks_part_inside
from jointrain.balancing.engine._ranks import (
    ranks_of,
)
from jointrain.balancing.engine._replicas import (
    Group,
    find_replicas,
    gathered,
    is_distributed,
    parameters_of,
    several_processes,
)
from jointrain.balancing.engine._rows import Rows
from jointrain.balancing.engine._sharded import (
    ShardedStep,
    divisor,
    local,
    refuse_sharded,
    sharded,
)
from jointrain.balancing.engine._step import GRADIENT_METHODS, Step

__all__ = [
    "GRADIENT_METHODS",
    "NOTHING_SHARED",
    "Agreement",
    "Boundary",
    "Cotangents",
    "DistributedStep",
    "Gradients",
    "Graph",
    "Group",
    "Leaf",
    "Local",
    "Place",
    "Rows",
    "ShardedStep",
    "Step",
    "Walk",
    "add_to_grad",
    "agree",
    "announce_failure",
    "digest_of_state",
    "distributed",
    "divisor",
    "explained",
    "find_replicas",
    "gathered",
    "grad",
    "is_distributed",
    "is_finite",
    "local",
    "no_gradients",
    "parameters_of",
    "prepare",
    "ranks_of",
    "reached",
    "real_view",
    "refuse_sharded",
    "several_processes",
    "sharded",
    "sum_after_pass",
    "sum_during_pass",
    "sum_gradients",
    "sum_over_copies",
    "tasks_part_inside",
    "walk",
]
