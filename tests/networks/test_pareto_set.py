"""A Pareto set: the layers' equation, what training draws, preferences, a front."""

import numpy as np
import pytest
import torch
from torch import nn

from jointrain import OptimizerSettings, Task, TensorData, Trainer
from jointrain.errors import InvalidInputError
from jointrain.networks import ParetoSet


def heads():
    return {"a": nn.Linear(4, 1), "b": nn.Linear(4, 1), "c": nn.Linear(4, 1)}


def network(**options):
    torch.manual_seed(0)
    made = ParetoSet(nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 4)), heads(), **options)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if name.endswith("up"):
                parameter.normal_()
    return made


def test_the_layers_are_changed_as_the_equation_says():
    made = network(rank=2, scale=6.0).double().eval()
    made.prefer([1.0, 3.0, 0.0])
    x = torch.randn(5, 8, dtype=torch.float64)
    z = x
    for layer in (made.trunk[0], made.trunk[2]):
        weight = layer.layer.weight.clone()
        for task, share in enumerate((0.25, 0.75, 0.0)):
            rows = slice(2 * task, 2 * task + 2)
            weight += 6.0 / 2 * share * layer.up[:, rows] @ layer.down[rows]
        z = z @ weight.T + layer.layer.bias
        z = z.tanh() if layer is made.trunk[0] else z
    torch.testing.assert_close(made.features(x, ["b"])["b"], z)


def test_training_draws_a_preference_and_weighs_the_losses_by_it():
    made = network(concentration=0.5).train()
    task, y = Task.regression("b"), torch.zeros(5)
    drawn = []
    for _ in range(200):
        output = made(torch.ones(5, 8))["b"].detach()
        share = made.drawn[1]
        torch.testing.assert_close(made.loss(task, output, y), 3 * share * task.loss(output, y))
        drawn.append(made.drawn)
    rows = torch.stack(drawn)
    torch.testing.assert_close(rows.sum(1), torch.ones(200))
    assert (rows.mean(0) - 1 / 3).abs().max() < 0.08
    # variance of Dirichlet(1/2, 1/2, 1/2): (1/3)(2/3) / (3/2 + 1)
    assert (rows.var(0) - 0.0889).abs().max() < 0.03
    output = made.eval()(torch.ones(5, 8))["b"]
    torch.testing.assert_close(made.loss(task, output, y), task.loss(output, y))


def test_the_preference_is_saved_with_the_weights():
    made, other = network(), network()
    made.prefer({"c": 1, "a": 3, "b": 0})
    other.load_state_dict(made.state_dict())
    assert other.preference.tolist() == [0.75, 0.0, 0.25]


def opposed(count, seed):
    """Two tasks that a single shared number can't both fit: their targets differ in sign."""
    rng = np.random.default_rng(seed)
    x = torch.from_numpy(rng.normal(size=(count, 4)).astype(np.float32))
    y = x[:, 0] + 0.1 * torch.from_numpy(rng.normal(size=count).astype(np.float32))
    return TensorData(x, {"a": y, "b": -y})


def test_the_preference_moves_the_losses_along_a_front():
    torch.manual_seed(0)
    made = ParetoSet(nn.Linear(4, 1), {"a": nn.Identity(), "b": nn.Identity()}, rank=1)
    tasks = [Task.regression("a"), Task.regression("b")]
    settings = OptimizerSettings(learning_rate=0.02)
    trainer = Trainer(made, tasks, optimizer=settings, epochs=60, batch_size=64, device="cpu")
    trainer.fit(opposed(600, 0))
    test = opposed(4000, 2)
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        made.eval().prefer({"a": share, "b": 1 - share})
        with torch.no_grad():
            outputs = made(test.inputs)
        found = [float(task.loss(outputs[task.name], test.targets[task.name])) for task in tasks]
        # the sum by the preference is least where the number is (2 share - 1) x
        wanted = [(2 - 2 * share) ** 2 + 0.01, (2 * share) ** 2 + 0.01]
        assert found == pytest.approx(wanted, abs=0.15)


@pytest.mark.parametrize(
    "preference, message",
    [
        ([0.0, 0.0, 0.0], "the preference must have an entry above zero, got"),
        ([1.0, -0.5, 1.0], "the preference for 'b' must be a number of at least 0, got -0.5"),
        ([1.0, float("nan"), 1.0], "the preference for 'b' must be a number of at least 0"),
        ([1.0, 2.0], r"the preference must have one number per task, 3 \('a', 'b', 'c'\), got 2"),
        ({"a": 1, "b": 1}, "the preference lacks 'c'"),
        ({"a": 1, "b": 1, "c": 1, "d": 1}, "the preference has an entry for 'd'"),
        ({"a": 1, "b": "much", "c": 1}, "the preference for 'b' must be a number"),
    ],
)
def test_a_preference_that_cannot_be_used_is_refused_in_a_line(preference, message):
    with pytest.raises(InvalidInputError, match=message) as caught:
        network().prefer(preference)
    assert "\n" not in str(caught.value)


def test_refuses_what_it_cannot_be_built_of():
    with pytest.raises(InvalidInputError, match=r"Tanh has no nn.Linear layer"):
        ParetoSet(nn.Tanh(), heads())
    for name in ("rank", "scale", "concentration"):
        with pytest.raises(InvalidInputError, match=f"`{name}` must be"):
            network(**{name: 0})
    made = network()
    with pytest.raises(InvalidInputError, match="computed outside its network"):
        made.trunk(torch.zeros(1, 8))
