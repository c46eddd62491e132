from jointrain.balancing import Equal
from tests.balancing.weighting._helpers import close, weights_of


def test_weighs_every_task_by_one_however_many_there_are():
    close(weights_of(Equal(), [3.0, -1.0, 0.0]), [1.0, 1.0, 1.0])
    close(weights_of(Equal(), [3.0]), [1.0])
