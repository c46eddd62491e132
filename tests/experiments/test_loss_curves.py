"""Loss curves are means of about the same runs, and a stranger's are refused."""

import pytest

from jointrain.experiments import LossCurve


def test_a_mean_is_as_long_as_half_of_the_runs():
    long = LossCurve([4.0, 2.0, 1.0], [3.0, None, 1.0], [1.0, 1.0, 1.0], 3.0)
    short = LossCurve([2.0], [1.0], [3.0], 1.0)
    mean = LossCurve.mean([long, short])
    assert (mean.training, mean.validation) == ([3.0, 2.0, 1.0], [2.0, None, 1.0])
    assert (mean.weight[0], mean.kept, mean.runs) == (2.0, 2.0, 2)
    # of three runs, two go on to the second epoch
    assert len(LossCurve.mean([short, short, long]).training) == 1
    again = LossCurve.mean([mean, short, short])
    assert (again.runs, len(again.training)) == (4, 3)
    assert again.training[0] == 2.5
    assert again.kept == 1.5


@pytest.mark.parametrize(
    "wrong",
    [{"training": "x"}, {"training": []}, {"validation": [1.0]}, {"runs": 0}, {"kept": "1"},
     {"weight": [1.0, "2"]}],
)  # fmt: skip
def test_what_is_no_curve_is_refused(wrong):
    good = {
        "training": [1.0, 0.5],
        "validation": [1.0, None],
        "weight": [1.0, 1.0],
        "kept": 2.0,
        "runs": 1,
    }
    assert vars(LossCurve.of_plain(good)) == good
    with pytest.raises(ValueError, match="loss curve"):
        LossCurve.of_plain(good | wrong)
