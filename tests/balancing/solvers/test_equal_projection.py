import numpy as np
import pytest
import torch

from jointrain.balancing.solvers import equal_cosine_weights
from tests.balancing.solvers._cases import SIZES, rows


@pytest.mark.parametrize("kind", ["full rank", "conflicting", "tiny", "huge", "unlike scales"])
@pytest.mark.parametrize("t", SIZES)
def test_all_unit_gradients_get_the_same_share(t, kind):
    matrix = rows(kind, t)
    gramian = (matrix @ matrix.T).numpy()
    lengths = np.sqrt(np.diagonal(gramian))
    share = gramian @ equal_cosine_weights(gramian, lengths) / lengths
    np.testing.assert_allclose(share, np.ones(t), rtol=1e-6)


@pytest.mark.parametrize("kind", ["half rank", "zero row", "opposite", "equal rows"])
@pytest.mark.parametrize("t", [1, 2, 3, 8, 17])
def test_singular_ones_by_the_pseudo_inverse(t, kind):
    matrix = rows(kind, t)
    gramian = matrix @ matrix.T
    lengths = gramian.diagonal().sqrt()
    wanted = torch.linalg.pinv(gramian, hermitian=True, rtol=1e-13) @ lengths
    found = equal_cosine_weights(gramian.numpy(), lengths.numpy())
    np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-6, atol=1e-8 * float(wanted.norm()))


def test_no_gradient_at_all():
    assert equal_cosine_weights(np.zeros((2, 2)), np.zeros(2)).tolist() == [0.0, 0.0]
