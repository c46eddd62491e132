"""From a checked call to `.grad`: one short pipeline for each kind of method."""

from jointrain.balancing.pipelines._accumulated import by_accumulated
from jointrain.balancing.pipelines._kinds import run
from jointrain.balancing.pipelines._losses import overflowed

__all__ = ["by_accumulated", "overflowed", "run"]
