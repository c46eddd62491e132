"""What networks for tables are made of: layers of an MLP, and counts that have a largest value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from torch import nn

from jointrain.errors import InvalidInputError
from jointrain.networks._mlp import MLP
from jointrain.networks._numeric_embeddings import NumericEmbeddings
from jointrain.task import Task

Embeddings = Literal["linear", "periodic"]


class _AtMost(int):
    """The largest value of a setting, where it is annotated, as ``Field(le=...)`` of pydantic."""

    # only read when a setting is checked, so that pydantic is not imported before
    def __get_pydantic_core_schema__(self, kind: Any, schema_of: Callable[[Any], Any]) -> Any:
        return {**schema_of(kind), "le": int(self)}


Count = Annotated[int, _AtMost(1024)]
"""A number of modules."""

Rank = Annotated[int, _AtMost(65_536)]
Steps = Annotated[int, _AtMost(10**9)]


@dataclass(frozen=True, kw_only=True)
class MLPSettings:
    """The layers of an MLP, which every network of a table is made of.

    Args:
        width: Units of a layer; default 128.
        depth: Layers; default 2.
        dropout: Probability of zeroing a unit while training; default 0.1.
        input_dropout: The same of an input; default 0.
        embeddings: Of each input, see `NumericEmbeddings`; None (default) for none.
    """

    width: int = 128
    depth: int = 2
    dropout: float = 0.1
    input_dropout: float = 0.0
    embeddings: Embeddings | None = None

    def trunk(self, features: int) -> nn.Sequential:
        """Return all layers, from a number of inputs."""
        layers = {name: value for name, value in vars(self).items() if name != "embeddings"}
        if self.embeddings is None:
            return MLP(features, **layers)
        vectors = NumericEmbeddings(features, kind=self.embeddings)
        return nn.Sequential(vectors, MLP(vectors.out_features, **layers))

    def trunks(self, features: int, count: int) -> list[nn.Module]:
        """Return several trunks."""
        return [self.trunk(features) for _ in range(count)]

    def stages(self, features: int) -> list[nn.Module]:
        """Return the layers one by one."""
        if self.depth < 1:
            raise InvalidInputError(f"`depth` must be at least 1, got {self.depth}")
        first, later = self.levels()
        return [first.trunk(features), *later.trunks(self.width, self.depth - 1)]

    def levels(self) -> tuple[MLPSettings, MLPSettings]:
        """Return the settings of the first layer, and of one that takes what a layer gave."""
        first = replace(self, depth=1)
        return first, replace(first, input_dropout=0.0, embeddings=None)

    def heads(self, tasks: Sequence[Task]) -> dict[str, nn.Module]:
        """Return a linear head for each task, on what a trunk gives."""
        return {task.name: nn.Linear(self.width, task.output_size) for task in tasks}
