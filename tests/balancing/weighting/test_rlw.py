import pytest
import torch

from jointrain.balancing import RLW
from jointrain.errors import InvalidInputError
from tests.balancing.weighting._helpers import close, weights_of


@pytest.mark.parametrize("distribution", ["normal", "dirichlet"])
def test_draws_positive_weights_that_sum_to_the_number_of_tasks(distribution):
    balancer = RLW(distribution=distribution, seed=3)
    first, second = (weights_of(balancer, torch.ones(5)) for _ in range(2))
    assert (first > 0).all()
    close(first.sum(), 5.0)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("distribution", ["normal", "dirichlet"])
def test_depends_on_its_own_seed_alone(distribution):
    balancer = RLW(distribution=distribution, seed=3)
    wanted = weights_of(balancer, torch.ones(4))
    torch.manual_seed(99)
    balancer.reset()
    assert torch.equal(weights_of(balancer, torch.ones(4)), wanted)
    other = RLW(distribution=distribution, seed=4)
    assert not torch.equal(weights_of(other, torch.ones(4)), wanted)


def test_normal_weights_are_the_softmax_of_the_generators_numbers():
    drawn = torch.empty(3, dtype=torch.float64)
    drawn.normal_(generator=torch.Generator().manual_seed(7))
    close(weights_of(RLW(seed=7), torch.ones(3)), 3 * torch.softmax(drawn, 0))


@pytest.mark.parametrize(
    "distribution, variance",
    # Dirichlet(1, 1, 1) has variance 2/36 per share, times 9 for weights that sum to 3
    [("dirichlet", 0.5)],
)
def test_dirichlet_has_the_moments_of_the_uniform_simplex(distribution, variance):
    balancer = RLW(distribution=distribution)
    drawn = torch.stack([weights_of(balancer, torch.ones(3)) for _ in range(4000)])
    close(drawn.mean(0), [1.0, 1.0, 1.0], atol=0.05)
    close(drawn.var(0), [variance] * 3, atol=0.05)


def test_refuses_an_unknown_distribution():
    with pytest.raises(InvalidInputError, match=r"`distribution` must be one of.*did you mean"):
        RLW(distribution="norml")
