import pytest
import torch

from jointrain import balancing
from jointrain.balancing import AutoLambda
from jointrain.errors import InvalidInputError
from tests.balancing.bilevel._problems import Quadratics, some_quadratics


def exact_meta_gradient(case, weights, inner, primary):
    """The derivative through the virtual step, by autograd."""
    weights = weights.clone().requires_grad_()
    x = case.x().requires_grad_()
    (step,) = torch.autograd.grad(
        (weights * case.at(x, "train")).sum(), x, create_graph=True, retain_graph=True
    )
    held_out = case.at(x - inner * step, "held_out")
    return torch.autograd.grad((primary * held_out).sum(), weights)[0]


@pytest.mark.parametrize("primary", [None, ["1"], ["0", "2"]])
def test_meta_gradient_equals_autograd_through_the_virtual_step(primary):
    case = some_quadratics()
    balancer = AutoLambda(3, primary=primary, inner_step_size=0.3)
    found = balancer._meta_gradient(case.problem(), torch.arange(3))
    mask = torch.tensor([primary is None or str(i) in primary for i in range(3)]).double()
    # central differences of quadratics are exact
    wanted = exact_meta_gradient(case, torch.full((3,), 0.1).double(), 0.3, mask)
    torch.testing.assert_close(found, wanted, rtol=1e-7, atol=1e-10)


def test_several_steps_equal_a_loop_with_autograd_and_torchs_adam():
    case = some_quadratics()
    balancer = AutoLambda(3, primary=["0"], inner_step_size=0.2, step_size=0.01)
    weights = torch.full((3,), 0.1, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([weights], lr=0.01)
    mask = torch.tensor([1.0, 0.0, 0.0]).double()
    for _ in range(5):
        problem = case.problem()
        weights.grad = exact_meta_gradient(case, weights.detach(), 0.2, mask)
        adam.step()
        found = balancer.weights(problem)
        torch.testing.assert_close(found, weights.detach(), rtol=1e-6, atol=1e-8)
        case.descend(found, problem, 0.1)


def test_raises_the_weight_of_the_task_that_helps_and_lowers_that_of_the_one_that_harms():
    goals = torch.tensor([[1.0, 1.0], [1.2, 0.8], [-1.0, -1.0]])
    case = Quadratics(goals, goals)
    balancer = AutoLambda(["main", "helps", "harms"], primary=["main"], step_size=0.01)
    for _ in range(40):
        problem = case.problem()
        weights = balancer.weights(problem)
        case.descend(weights, problem, 0.02)
    assert weights[0] > 0.2
    assert weights[1] > 0.2
    assert weights[2] < 0.0


def test_leaves_the_parameters_as_they_were():
    case = some_quadratics()
    before = case.x()
    AutoLambda(3).weights(case.problem())
    assert torch.equal(case.x(), before)


def test_absent_tasks_keep_their_weights_and_without_a_primary_task_all_do():
    case = some_quadratics(2)
    balancer = AutoLambda(["a", "b", "c"], primary=["b"], step_size=0.01)
    with balancer.taking_part(balancer.positions_of(["c", "a"])):
        assert balancer.weights(case.problem()).tolist() == [0.1, 0.1]
    with balancer.taking_part(balancer.positions_of(["b", "c"])):
        weights = balancer.weights(case.problem())
    assert balancer.task_weights[0] == 0.1
    assert balancer.moments[2].tolist() == [0.0, 1.0, 1.0]
    assert (weights != 0.1).all()


def test_a_vanishing_held_out_gradient_changes_nothing():
    case = Quadratics(torch.zeros(2, 2), torch.zeros(2, 2))
    balancer = AutoLambda(2)
    assert balancer.weights(case.problem()).tolist() == [0.1, 0.1]
    assert balancer.moments.abs().sum() == 0


def test_works_in_the_one_call():
    case = some_quadratics()
    balancer = AutoLambda(["a", "b", "c"])
    names = ("a", "b", "c")
    before = case.x()

    def named(which):
        return dict(zip(names, case.losses(which), strict=True))

    balancing.backward(
        named("train"),
        balancer=balancer,
        train=lambda: named("train"),
        held_out=lambda: named("held_out"),
    )
    wanted = torch.autograd.grad(
        (balancer.task_weights * case.losses("train")).sum(), case.parameters
    )
    assert torch.equal(case.x(), before)
    for p, w in zip(case.parameters, wanted, strict=True):
        torch.testing.assert_close(p.grad, w)


def test_reset_forgets():
    balancer = AutoLambda(3)
    balancer.weights(some_quadratics().problem())
    balancer.reset()
    assert balancer.task_weights.tolist() == [0.1] * 3
    assert balancer.moments.abs().sum() == 0


def test_refuses_what_it_cannot_take():
    with pytest.raises(
        InvalidInputError, match=r"`primary` must name tasks of.*did you mean 'age'"
    ):
        AutoLambda(["age", "sex"], primary=["agee"])
    with pytest.raises(InvalidInputError, match="`primary` must name at least one task"):
        AutoLambda(primary=[])
    with pytest.raises(InvalidInputError, match="`initial_weight` must be a number"):
        AutoLambda(initial_weight=float("nan"))
    with pytest.raises(InvalidInputError, match="`step_size` must be a number in"):
        AutoLambda(step_size=0.0)
    with pytest.raises(InvalidInputError, match="`inner_step_size` must be a number in"):
        AutoLambda(inner_step_size=-0.1)
