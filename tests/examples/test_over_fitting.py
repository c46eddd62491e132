"""Over-fitting: the network learns its rows by heart, and every remedy narrows the gap."""

import runpy
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "examples" / "over_fitting.py"
EXAMPLE = runpy.run_path(str(SCRIPT))


def test_each_remedy_predicts_unseen_rows_better_than_none_and_than_the_mean(tmp_path, capsys):
    picture = tmp_path / "gap.png"
    ends = EXAMPLE["main"](["--small", "--seed", "3", "--picture", str(picture)])
    assert all(len(errors) == 2 for errors in ends.values())
    for seed, (seen, unseen) in enumerate(ends.pop("none")):
        assert seen < 0.3
        for errors in ends.values():
            remedy_seen, remedy_unseen = errors[seed]
            assert remedy_unseen < min(unseen, 0.9)
            assert remedy_unseen - remedy_seen < 0.5 * (unseen - seen)
    assert picture.stat().st_size > 10_000
    assert len(capsys.readouterr().out.splitlines()) == 1 + len(EXAMPLE["REMEDIES"])


def test_no_row_is_in_two_sets_and_a_seed_gives_the_same_run_again():
    sets = EXAMPLE["split_table"](1)
    assert [len(data) for data in sets] == [120, 80, 242]
    rows = {tuple(row) for data in sets for row in data.inputs.tolist()}
    assert len(rows) == 442
    assert EXAMPLE["train"]("dropout", 0, 3) == EXAMPLE["train"]("dropout", 0, 3)
