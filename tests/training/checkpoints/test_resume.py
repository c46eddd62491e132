"""A run that is interrupted after any step and goes on elsewhere ends with the same bits."""

import pytest

from tests.training.checkpoints.runs import (
    assert_same_end,
    cases,
    every_checkpoint,
    fit,
    resumed_from,
    trainer,
)


@pytest.mark.parametrize("name", cases())
def test_a_run_resumed_after_any_step_is_the_run(name, tmp_path):
    case = cases()[name]
    plain = trainer(case)
    fit(plain, case)
    whole = trainer(case)
    checkpoints = every_checkpoint(whole, case, tmp_path / "all")
    assert_same_end(whole, plain)
    assert len(checkpoints) >= 6
    for checkpoint in checkpoints:
        assert_same_end(resumed_from(checkpoint, case, tmp_path / "one"), whole)
