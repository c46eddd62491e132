"""Pre-training, then fine-tuning: both sources of help beat learning from scratch."""

import runpy
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "transfer.py"
EXAMPLE = runpy.run_path(str(SCRIPT))


@pytest.mark.integration
@pytest.mark.parametrize("way", ["pre-training, fine-tuning", "related tasks, fine-tuning"])
def test_with_few_labels_a_trunk_that_has_learned_elsewhere_is_better(way):
    for seed in range(2):
        scratch, helped = (EXAMPLE["train"](name, 20, seed) for name in ("from scratch", way))
        assert 0.4 < scratch < helped


@pytest.mark.integration
def test_curves_rise_and_are_drawn(tmp_path, capsys):
    shorter = ("from scratch", "all tasks at once")
    EXAMPLE["main"].__globals__["WAYS"] = {name: EXAMPLE["WAYS"][name] for name in shorter}
    picture = tmp_path / "curves.png"
    options = ["--labels", "10", "100", "--seeds", "2", "--picture", str(picture)]
    curves = EXAMPLE["main"](options)
    assert tuple(curves) == shorter
    for found in curves.values():
        assert min(found[100]) > max(found[10])
    assert picture.stat().st_size > 10_000
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_only_as_many_rows_have_a_digit_as_asked_for_and_no_row_is_in_two_sets():
    rows, test = EXAMPLE["make_data"](50, 0)
    assert int((rows.targets["digit"] != -100).sum()) == 50
    assert int((rows.targets["odd"] != -100).sum()) == 300
    assert bool((test.targets["digit"] != -100).all())
    assert len({tuple(x) for data in (rows, test) for x in data.inputs.tolist()}) == 1797
