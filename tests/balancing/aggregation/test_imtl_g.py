import pytest
import torch

from jointrain.balancing import IMTLG


@pytest.mark.parametrize("t", [2, 3, 17])
def test_projections_on_all_unit_gradients_are_the_same(t):
    matrix = torch.randn(t, 40, dtype=torch.float64) * torch.logspace(-3, 3, t).double()[:, None]
    weights = IMTLG().weights(matrix @ matrix.T, torch.ones(t))
    assert float(weights.sum()) == pytest.approx(1.0)
    share = (matrix @ (weights @ matrix)) / matrix.norm(dim=1)
    torch.testing.assert_close(share / share[0], torch.ones(t).double(), rtol=1e-6, atol=0)


def test_two_tasks_in_closed_form():
    """The update is along the sum of the unit gradients: weights ~ 1 / length."""
    gramian = torch.tensor([[1.0, 1.0], [1.0, 9.0]], dtype=torch.float64)
    assert IMTLG().weights(gramian, torch.ones(2)).tolist() == pytest.approx([0.75, 0.25])


def test_opposite_gradients_go_by_the_pseudo_inverse():
    gramian = torch.tensor([[1.0, -2.0], [-2.0, 4.0]], dtype=torch.float64)
    # G = u u^T with u = (1, -2), lengths (1, 2): w ~ u (u . lengths) ~ -u, and its sum is 1
    assert IMTLG().weights(gramian, torch.ones(2)).tolist() == pytest.approx([-1.0, 2.0])
