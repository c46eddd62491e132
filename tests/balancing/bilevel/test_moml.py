import pytest
import torch

from jointrain.balancing import MOML
from jointrain.errors import InvalidInputError
from tests.balancing.bilevel._problems import Quadratics, some_quadratics


def exact_slopes(case, logits, inner):
    """The derivatives of the held-out losses after the virtual step by the logits, by autograd."""
    logits = logits.clone().requires_grad_()
    x = case.x().requires_grad_()
    weights = len(logits) * torch.softmax(logits, 0)
    (step,) = torch.autograd.grad(
        (weights * case.at(x, "train")).sum(), x, create_graph=True, retain_graph=True
    )
    held_out = case.at(x - inner * step, "held_out")
    rows = [torch.autograd.grad(loss, logits, retain_graph=True)[0] for loss in held_out]
    return torch.stack(rows), held_out.detach()


@pytest.mark.parametrize("normalization", ["none", "l2", "loss", "loss+"])
def test_several_steps_equal_a_loop_with_autograd_and_a_grid_search(normalization):
    case = some_quadratics(2)
    balancer = MOML(2, inner_step_size=0.3, step_size=0.05, normalization=normalization)
    logits = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([logits], lr=0.05)
    grid = torch.linspace(0, 1, 200001, dtype=torch.float64)
    for _ in range(4):
        problem = case.problem()
        slopes, held_out = exact_slopes(case, logits.detach(), 0.3)
        divisor = torch.ones(2).double()
        if normalization in ("l2", "loss+"):
            divisor = slopes.norm(dim=1)
        if normalization in ("loss", "loss+"):
            divisor = divisor * held_out
        scaled = slopes / divisor[:, None]
        lengths = (grid[:, None] * scaled[0] + (1 - grid)[:, None] * scaled[1]).norm(dim=1)
        best = grid[lengths.argmin()]
        logits.grad = best * slopes[0] + (1 - best) * slopes[1]
        # two logits move against each other: where both tasks agree the first corner is exact,
        # where they don't the combination is zero and Adam's direction is noise
        if logits.grad.norm() < 1e-4 * slopes.norm():
            break
        adam.step()
        found = balancer.weights(problem)
        wanted = 2 * torch.softmax(logits.detach(), 0)
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)
        case.descend(found, problem, 0.1)


def test_hyper_gradients_equal_autograd():
    case = some_quadratics(3)
    balancer = MOML(3, inner_step_size=0.3)
    with torch.no_grad():
        balancer.logits.copy_(torch.tensor([0.3, -0.2, 0.5]))
    share = torch.softmax(balancer.logits, 0)
    inner, held_out = balancer._inner_products(case.problem(), 3 * share)
    slopes = -0.3 * inner @ (3 * (torch.diag(share) - share.outer(share)))
    wanted, wanted_held_out = exact_slopes(case, balancer.logits, 0.3)
    torch.testing.assert_close(slopes, wanted)
    torch.testing.assert_close(held_out, wanted_held_out)


def test_weighs_up_the_training_loss_that_serves_all_held_out_losses():
    train = torch.tensor([[1.0, 1.0], [1.0, 1.0], [-1.0, -1.0]])
    held_out = torch.tensor([[1.0, 1.1], [1.1, 1.0], [1.0, 1.0]])
    case = Quadratics(train, held_out)
    balancer = MOML(3, inner_step_size=0.1, step_size=0.05)
    for _ in range(30):
        problem = case.problem()
        weights = balancer.weights(problem)
        case.descend(weights, problem, 0.02)
    torch.testing.assert_close(weights.sum(), torch.tensor(3.0).double())
    assert weights[2] < 0.5 < 1.0 < min(weights[:2])


def test_leaves_the_parameters_as_they_were_and_absent_tasks_their_logits():
    case = some_quadratics(2)
    before = case.x()
    balancer = MOML(["a", "b", "c"], inner_step_size=0.1)
    with balancer.taking_part(balancer.positions_of(["c", "a"])):
        balancer.weights(case.problem())
    assert torch.equal(case.x(), before)
    assert balancer.logits[1] == 0
    assert balancer.logits[0] != 0
    balancer.reset()
    assert balancer.logits.tolist() == [0.0] * 3


def test_refuses_what_it_cannot_take():
    with pytest.raises(InvalidInputError, match="`normalization` must be one of"):
        MOML(normalization="l1")
    with pytest.raises(InvalidInputError, match="`step_size` must be a number in"):
        MOML(step_size=0.0)
    with pytest.raises(InvalidInputError, match="`inner_step_size` must be a number in"):
        MOML(inner_step_size=0.0)
