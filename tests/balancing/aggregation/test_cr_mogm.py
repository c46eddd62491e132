import pytest
import torch

from jointrain.balancing import CRMOGM, MGDA, GradNorm, MoDo
from jointrain.errors import InvalidInputError


def test_smooths_the_other_methods_weights_by_hand():
    smooth = CRMOGM(MGDA(), 2, alpha=0.75)
    for first, wanted in ((1.0, 0.5), (3.0, 0.75 * 0.5 + 0.25 * 0.25)):
        gramian = torch.diag(torch.tensor([first, 1.0], dtype=torch.float64))
        assert float(smooth.weights(gramian, torch.ones(2))[0]) == pytest.approx(wanted)


@pytest.mark.parametrize("method", [MoDo(), GradNorm(2), "mgda"])
def test_refuses_methods_that_need_more_than_a_gramian(method):
    with pytest.raises(InvalidInputError, match="`method` must make weights of the Gramian"):
        CRMOGM(method)
