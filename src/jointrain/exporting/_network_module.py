"""The networks of a table model as one module of torch, from encoded inputs to predictions."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from jointrain.networks import LearningToBranch
from jointrain.tables import TableModel
from jointrain.task import Task


class NetworkModule(nn.Module):
    """Predicts as `TableModel.predict` does from what its encoder gives.

    Networks compute in single precision, all that follows in double.

    Args:
        model: The model.

    Shape:
        forward: [n, d] in single precision to a tuple of the predictions of each task, in double.
    """

    scaling: Tensor

    def __init__(self, model: TableModel) -> None:
        super().__init__()
        self.tasks = model.predicted_tasks
        self.parts = nn.ModuleList(
            copy.deepcopy(part.network).float().eval() for part in model.parts
        )
        for module in self.parts.modules():
            if isinstance(module, LearningToBranch):
                module.keep_branches()
        self.of_part = [set(part.tasks) for part in model.parts]
        self.scaled = set(model.scaling)
        numbers = [model.scaling.get(task.name, (0.0, 1.0)) for task in self.tasks]
        # torch's exporter would keep plain numbers in single precision
        self.register_buffer("scaling", torch.tensor(numbers, dtype=torch.float64))
        self.temperatures = dict(model.calibration.temperatures)

    def forward(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the predictions of each task."""
        found: dict[str, list[Tensor]] = {task.name: [] for task in self.tasks}
        for network, known in zip(self.parts, self.of_part, strict=True):
            own = [(index, task) for index, task in enumerate(self.tasks) if task.name in known]
            outputs = network(inputs, [task.name for _, task in own])
            for index, task in own:
                values = task.predict(outputs[task.name].double())
                if task.name in self.scaled:
                    mean, deviation = self.scaling[index]
                    values = values * deviation + mean
                temperature = self.temperatures.get(task.name, 1.0)
                found[task.name].append(scaled(values, temperature, task))
        return tuple(torch.stack(found[task.name]).mean(0) for task in self.tasks)


def scaled(probabilities: Tensor, temperature: float, task: Task) -> Tensor:
    """Return what `scale_probabilities` gives, of tensors."""
    if temperature == 1:
        return probabilities
    if probabilities.ndim == 1 or task.in_table.label_shape():
        both = torch.stack([1 - probabilities, probabilities], dim=-1)
        return torch.softmax(both.clamp_min(1e-12).log() / temperature, dim=-1)[..., 1]
    return torch.softmax(probabilities.clamp_min(1e-12).log() / temperature, dim=-1)
