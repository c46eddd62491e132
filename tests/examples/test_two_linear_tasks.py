"""The classic example: both schedules find the six parameters, and the script shows it."""

import re
import runpy
from pathlib import Path

import pytest

from jointrain import Alternating, Joint

SCRIPT = Path(__file__).parents[2] / "examples" / "two_linear_tasks.py"
EXAMPLE = runpy.run_path(str(SCRIPT))
TRUTH = {"y1": [0.1, 0.2, 0.3], "y2": [0.5, 0.9, 3.0]}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "schedule, steps",
    [(Alternating("random", {"y1": 0.5, "y2": 0.5}), 1000), (Joint(), 300)],
    ids=["alternating", "joint"],
)
def test_training_finds_all_six_parameters(schedule, steps, seed):
    network = EXAMPLE["train"](schedule, steps, seed)
    found = EXAMPLE["parameters"](network)
    assert found.keys() == TRUTH.keys()
    for name, values in TRUTH.items():
        assert found[name] == pytest.approx(values, abs=1e-2)


def test_the_script_prints_how_the_parameters_approach_the_truth(capsys):
    EXAMPLE["main"]()
    lines = capsys.readouterr().out.splitlines()
    sections = "\n".join(lines).split("\n\n")
    assert [text.split()[0] for text in sections] == ["In", "Jointly:"]
    pattern = re.compile(
        r"step +(\d+)  trained (y1|y2|y1\+y2) +"
        r"y1 = \[(.*), (.*)\] x ([+-]\S+)   y2 = \[(.*), (.*)\] x ([+-]\S+)"
    )
    truth = TRUTH["y1"] + TRUTH["y2"]
    trained = []
    for text, last in zip(sections, (1000, 300), strict=True):
        matches = [pattern.fullmatch(line) for line in text.splitlines()[1:]]
        assert all(matches)
        steps = [int(m[1]) for m in matches]
        assert steps == [1, 2, 5, 10, 20, 50, 100, 200, 300, 500, 1000][: len(steps)]
        assert steps[-1] == last
        errors = [
            max(abs(float(m[3 + i]) - value) for i, value in enumerate(truth)) for m in matches
        ]
        assert errors[0] > 0.1
        assert errors[-1] < 1e-2
        trained.append({m[2] for m in matches})
    assert trained == [{"y1", "y2"}, {"y1+y2"}]
