import pytest
import torch

from jointrain import balancing
from jointrain.balancing import FORUM
from jointrain.errors import InvalidInputError
from tests.balancing.bilevel._problems import Quadratics, some_quadratics


def naive_direction(case, logits, rho, inner, steps):
    """FORUM's direction of logits and parameters for the first epoch, written out with cvxpy."""
    cvxpy = pytest.importorskip("cvxpy")
    t = len(logits)
    logits = logits.clone().requires_grad_()
    x = case.x().requires_grad_()

    def f(a, at):
        return (torch.softmax(a, 0) * case.at(at, "train")).sum()

    below = case.x()
    for _ in range(steps):
        at = below.clone().requires_grad_()
        below = below - inner * torch.autograd.grad(f(logits.detach(), at), at)[0]
    q = torch.cat(torch.autograd.grad(f(logits, x) - f(logits, below), [logits, x]))
    rows = []
    for loss in case.at(x, "held_out"):
        (g,) = torch.autograd.grad(loss, x, retain_graph=True)
        rows.append(torch.cat([torch.zeros(t).double(), g / g.norm()]))
    a = torch.stack(rows).numpy()
    d = cvxpy.Variable(a.shape[1])
    square = float(q @ q)
    problem = cvxpy.Problem(
        cvxpy.Minimize(cvxpy.max(a @ d) + 0.5 * cvxpy.sum_squares(d)),
        [q.numpy() @ d <= -rho * square],
    )
    problem.solve(solver=cvxpy.CLARABEL, tol_gap_abs=1e-11, tol_gap_rel=1e-11, tol_feas=1e-11)
    return -torch.from_numpy(d.value), t


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("rho", [0.1, 1.0])
def test_direction_solves_the_constrained_problem(seed, rho):
    """The parameters move along the minimiser of the primal problem that FORUM is derived from."""
    case = some_quadratics(3, seed=seed)
    start = torch.tensor([0.3, -0.2, 0.1]).double()
    balancer = FORUM(3, rho=rho, inner_step_size=0.2, inner_steps=3, step_size=0.01)
    with torch.no_grad():
        balancer.logits.copy_(start)
    wanted, t = naive_direction(case, start, rho, 0.2, 3)
    problem = case.problem()
    weights = balancer.weights(problem)
    gradient = problem.gradient((weights * problem.losses).sum())
    found = torch.cat([g + a for g, a in zip(gradient, problem.added, strict=True)])
    torch.testing.assert_close(found, wanted[t:], rtol=1e-4, atol=1e-5)
    # the logits move by Adam's first step: the sign of their part of the direction
    moved = balancer.logits - start
    for m, w in zip(moved.tolist(), wanted[:t].tolist(), strict=True):
        if abs(w) > 1e-4:
            assert m == pytest.approx(-0.01 * (1 if w > 0 else -1), rel=1e-3)


def test_without_conflict_with_the_constraint_only_held_out_losses_count():
    case = Quadratics(torch.tensor([[1.0, 0.0]] * 2), torch.tensor([[1.0, 0.0]] * 2))
    problem = case.problem()
    weights = FORUM(2).weights(problem)
    assert weights.tolist() == [0.0, 0.0]
    assert problem.added[0].tolist() == [-1.0]


def test_lowers_all_held_out_losses_and_the_weight_of_the_harmful_training_loss():
    train = torch.tensor([[1.0, 1.0], [1.0, 1.0], [-1.0, -1.0]])
    held_out = torch.tensor([[1.0, 1.1], [1.1, 1.0], [1.0, 1.0]])
    case = Quadratics(train, held_out)
    balancer = FORUM(3, step_size=0.1)
    first = case.losses("held_out").detach()
    for _ in range(200):
        problem = case.problem()
        case.descend(balancer.weights(problem), problem, 0.02)
    assert (case.losses("held_out").detach() < 0.1 * first).all()
    share = torch.softmax(balancer.logits, 0)
    assert share[2] < min(share[:2])


def test_averages_the_shares_more_slowly_from_epoch_to_epoch():
    balancer = FORUM(3)
    balancer.weights(some_quadratics(3, seed=1).problem())
    first = balancer.task_shares.clone()
    balancer.end_epoch()
    other = FORUM(3)
    case = some_quadratics(3, seed=2)
    other.logits.copy_(balancer.logits)
    other.weights(case.problem())
    balancer.weights(case.problem())
    wanted = first + 2**-0.75 * (other.task_shares - first)
    torch.testing.assert_close(balancer.task_shares, wanted)


def test_a_minimal_training_loss_leaves_the_shortest_combination():
    """Where the weighted training loss has no gradient there is no constraint to meet."""
    case = Quadratics(torch.zeros(2, 2), torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    problem = case.problem()
    weights = FORUM(2).weights(problem)
    assert weights.tolist() == [0.0, 0.0]
    torch.testing.assert_close(torch.cat(problem.added), torch.tensor([-0.5, -0.5]).double())


def test_diverging_inner_steps_stop():
    case = some_quadratics(2)
    for p in case.parameters:
        p.data += 1e150
    problem = case.problem()
    weights = FORUM(2, inner_step_size=1e10, inner_steps=50).weights(problem)
    assert weights.isfinite().all()
    assert all(a.isfinite().all() for a in problem.added)


def test_works_in_the_one_call():
    case = some_quadratics()
    names = ("a", "b", "c")

    def named(which):
        return dict(zip(names, case.losses(which), strict=True))

    problem = case.problem()
    weights = FORUM(3).weights(problem)
    wanted = problem.gradient((weights * problem.losses).sum())
    balancing.backward(
        named("train"),
        balancer=FORUM(names),
        train=lambda: named("train"),
        held_out=lambda: named("held_out"),
    )
    for p, w, a in zip(case.parameters, wanted, problem.added, strict=True):
        torch.testing.assert_close(p.grad, w + a)


def test_absent_tasks_keep_their_state_and_reset_forgets():
    balancer = FORUM(["a", "b", "c"])
    with balancer.taking_part(balancer.positions_of(["c", "a"])):
        balancer.weights(some_quadratics(2, seed=3).problem())
    assert balancer.task_shares[1] == pytest.approx(1 / 3)
    assert balancer.logits[1] == 0
    balancer.end_epoch()
    balancer.reset()
    assert int(balancer.epochs) == 0
    torch.testing.assert_close(balancer.task_shares, torch.full((3,), 1 / 3).double())
    unbound = FORUM()
    unbound.end_epoch()
    assert unbound.task_names is None


def test_refuses_what_it_cannot_take():
    with pytest.raises(InvalidInputError, match="`rho` must be a number in"):
        FORUM(rho=0.0)
    with pytest.raises(InvalidInputError, match="`step_size` must be a number in"):
        FORUM(step_size=0.0)
    with pytest.raises(InvalidInputError, match="`inner_step_size` must be a number in"):
        FORUM(inner_step_size=0.0)
    with pytest.raises(InvalidInputError, match="`inner_steps` must be an integer of at least 1"):
        FORUM(inner_steps=0)
