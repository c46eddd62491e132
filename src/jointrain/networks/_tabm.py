"""TabM: an ensemble of MLPs that share most weights, as one trunk for tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from jointrain.errors import InvalidInputError
from jointrain.networks._dropout import Dropout
from jointrain.networks._network import Network, Part
from jointrain.networks._numeric_embeddings import embedding
from jointrain.networks._table_settings import Count, MLPSettings
from jointrain.task import Task


class EnsembleHead(nn.Module):
    r"""A linear head for each member of an ensemble; in evaluation their mean prediction.

    The mean is that of values, or of probabilities, given as logits: with members' logits z,
    :math:`\log \frac1k \sum_m \mathrm{softmax}(z_m)`.

    Args:
        in_features: Width of the trunk, d.
        task: What is predicted.
        members: k.

    Shape:
        forward: [b, k, d] -> [b, k, o] in training, [b, o] in evaluation.
    """

    def __init__(self, in_features: int, task: Task, members: int) -> None:
        from tabm import LinearEnsemble

        super().__init__()
        self.layer: nn.Module = LinearEnsemble(in_features, task.output_size, k=members)
        self.rules = task.rules

    def forward(self, features: Tensor) -> Tensor:
        """Return the members' outputs, or their mean."""
        outputs: Tensor = self.layer(features)
        return outputs if self.training else self.rules.mean_output(outputs)


class TabM(Network):
    r"""k MLPs on a table that share their weights up to scalings, and k heads for each task.

    A layer of member m is :math:`((x \odot r_m) W^\top) \odot s_m + b_m`, with W shared by all
    members. Each member is trained on the task's loss by itself (the loss is the mean over members,
    not the loss of their mean); predictions are the mean. On tables it is the strongest of the
    networks here, for little more time than an MLP of its width on a GPU; on a CPU it takes up to k
    times an MLP's.

    Args:
        in_features: Number of features, d.
        tasks: The tasks, whose kinds say how members are averaged.
        members: k >= 1; default 32.
        width: Units of each layer; default 512.
        depth: Number of layers; default 3.
        dropout: Probability of zeroing a unit while training; default 0.1.
        input_dropout: The same of an input; default 0.
        embeddings: ``periodic``, ``linear`` or None (default): see `NumericEmbeddings`.

    Shape:
        forward: [b, d] -> [b, k, o] for each task in training, [b, o] in evaluation.

    Raises:
        InvalidInputError: There is no task, or a number is out of range.

    Cost: k times the products of an MLP, its memory for weights once.

    Source: Gorishniy, Kotelnikov & Babenko, "TabM: Advancing Tabular Deep Learning with
        Parameter-Efficient Ensembling", ICLR 2025, section 3; by the authors' package ``tabm``.
    Differs from the source: a head of k members for each task on one backbone; the default width of
        embeddings is 16.

    Examples:
        >>> import torch
        >>> network = TabM(8, [Task.regression("a"), Task.multiclass("b", 3)], width=16)
        >>> x = torch.zeros(5, 8)
        >>> {name: tuple(y.shape) for name, y in network(x).items()}
        {'a': (5, 32, 1), 'b': (5, 32, 3)}
        >>> {name: tuple(y.shape) for name, y in network.eval()(x).items()}
        {'a': (5, 1), 'b': (5, 3)}
    """

    name = "tabm"
    summary = "an ensemble of MLPs that share most weights"

    def __init__(
        self,
        in_features: int,
        tasks: Sequence[Task],
        *,
        members: int = 32,
        width: int = 512,
        depth: int = 3,
        dropout: float = 0.1,
        input_dropout: float = 0.0,
        embeddings: Literal["linear", "periodic"] | None = None,
    ) -> None:
        for name, value in (
            ("in_features", in_features), ("members", members), ("width", width), ("depth", depth),
        ):  # fmt: skip
            if value < 1:
                raise InvalidInputError(f"`{name}` must be at least 1, got {value}")
        for name, probability in (("dropout", dropout), ("input_dropout", input_dropout)):
            if not 0 <= probability < 1:
                raise InvalidInputError(f"`{name}` must lie in [0, 1), got {probability}")
        super().__init__({task.name: EnsembleHead(width, task, members) for task in tasks})
        from tabm import TabM as Backbone

        backbone = Backbone(
            n_num_features=in_features,
            d_out=None,
            num_embeddings=(
                None if embeddings is None else embedding(embeddings, in_features, 16, 0.05)
            ),
            k=members,
            n_blocks=depth,
            d_block=width,
            dropout=dropout,
            start_scaling_init="random-signs" if embeddings is None else "normal",
        )
        self.trunk: nn.Module = (
            nn.Sequential(Dropout(input_dropout), backbone) if input_dropout else backbone
        )

    @classmethod
    def for_table(
        cls, in_features: int, tasks: Sequence[Task], mlp: MLPSettings, *, members: Count = 32
    ) -> TabM:
        """Return one of MLPs."""
        return cls(in_features, tasks, members=members, **vars(mlp))

    def features(self, inputs: Any, tasks: Sequence[str]) -> dict[str, Any]:
        """Return what the members give, [b, k, width]."""
        if torch.compiler.is_exporting():
            return dict.fromkeys(tasks, _traceable(self.trunk, inputs))
        return dict.fromkeys(tasks, self.trunk(inputs))

    def parts(self) -> list[Part]:
        """Return the trunk of all members."""
        return [Part(("trunk",), self.task_names, self.trunk)]

    def loss(
        self,
        task: Task,
        output: Tensor,
        target: Tensor,
        *,
        complete: bool = False,
        weights: Tensor | None = None,
    ) -> Tensor:
        """Return the mean over members of each one's loss.

        Shape:
            output: [b, k, o] in training, [b, o] in evaluation. target: [b, ...]. weights: [b].
            returns: [].
        """
        if self.training:
            members = output.shape[1]
            output = output.flatten(0, 1)  # [b k, o]
            target = target.repeat_interleave(members, 0)
            if weights is not None:
                weights = weights.repeat_interleave(members, 0)
        return task.loss(output, target, complete=complete, weights=weights)


def _traceable(trunk: Any, inputs: Tensor) -> Tensor:
    """Return what the trunk gives in evaluation, by its layers.

    The package's own forward pass holds the number of rows fast, so no exporter takes it.
    """
    backbone: Any = trunk[-1] if isinstance(trunk, nn.Sequential) else trunk
    numbers = inputs if backbone.num_module is None else backbone.num_module(inputs)
    members: Tensor = backbone.backbone(backbone.ensemble_view(numbers.flatten(1)))
    return members
