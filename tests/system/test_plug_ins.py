"""What installed packages add to --balancer, --network and their lists."""

from __future__ import annotations

import json
import sys

import pytest

from jointrain import InvalidInputError, Recipe
from jointrain.balancing import BALANCER_NAMES, balancer_from_name
from jointrain.cli import run
from jointrain.networks import NETWORK_NAMES

MODULE = """
import torch
from jointrain import HardSharing, MLP
from jointrain.balancing import GramianWeighting


class Halves(GramianWeighting):
    \"\"\"Give each task half of the update.\"\"\"

    def __init__(self, *, share: float = 0.5):
        super().__init__()
        self.share = share

    def weights(self, gramian, losses):
        return torch.full((len(gramian),), self.share, dtype=torch.float64)


def tower(in_features, tasks, *, width=8, layers=1):
    \"\"\"A trunk without frills.\"\"\"
    heads = {task.name: torch.nn.Linear(width, task.output_size) for task in tasks}
    return HardSharing(MLP(in_features, width=width, depth=layers), heads)
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Install a package of a name with entry points, as pip would."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    for module in [name for name in sys.modules if name.startswith("plug_in_")]:
        monkeypatch.delitem(sys.modules, module)

    def install(name: str, points: str, module: str = MODULE) -> None:
        (tmp_path / f"plug_in_{name}.py").write_text(module)
        info = tmp_path / f"{name}-1.2.dist-info"
        info.mkdir()
        (info / "top_level.txt").write_text(f"plug_in_{name}\n")
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(points)

    yield install
    for module in [name for name in sys.modules if name.startswith("plug_in_")]:
        del sys.modules[module]


OWN = """
[jointrain.balancers]
halves = plug_in_own:Halves
[jointrain.networks]
tower = plug_in_own:tower
"""


def test_what_a_package_adds_has_a_name(package):
    package("own", OWN)
    assert type(balancer_from_name("halves", share=0.2)).__name__ == "Halves"
    with pytest.raises(InvalidInputError, match=r"no hyper-parameter 'shrae' .did you mean"):
        balancer_from_name("halves", shrae=0.2)
    recipe = Recipe(balancer="Halves", network="tower", network_options={"layers": 2})
    recipe.check()
    told = recipe.sources()
    assert told["balancer"]["version"] == told["network"]["version"] == "1.2"
    assert Recipe(balancer="pcgrad").sources() == {}
    with pytest.raises(InvalidInputError, match=r"'tower' has no setting 'layer'.*did you mean"):
        Recipe(network="tower", network_options={"layer": 2}).check()
    with pytest.raises(InvalidInputError, match=r"no balancer 'halvse'.*did you mean 'halves'"):
        balancer_from_name("halvse")


def test_a_changed_package_is_another_source(package, tmp_path):
    package("own", OWN)
    before = Recipe(balancer="halves").sources()
    (tmp_path / "plug_in_own.py").write_text(MODULE.replace("len(gramian)", "len(losses * 1)"))
    del sys.modules["plug_in_own"]
    (tmp_path / "__pycache__").exists() and [
        f.unlink() for f in (tmp_path / "__pycache__").iterdir()
    ]
    assert Recipe(balancer="halves").sources() != before


def test_lists_say_where_each_comes_from(package, capsys):
    package("own", OWN)
    for command, name, summary in (
        ("balancers", "halves", "Give each task half of the update."),
        ("networks", "tower", "A trunk without frills"),
    ):
        assert run([command]) == 0
        line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith(name))
        assert summary in line
        assert "own 1.2" in line
        assert run([command, "--json"]) == 0
        assert name in json.loads(capsys.readouterr().out)


def test_a_broken_package_is_named_and_keeps_none_from_use(package, capsys):
    package("own", OWN)
    package("bad", "[jointrain.balancers]\nbad = plug_in_bad:Bad\n", "import no_such_library\n")
    package("odd", "[jointrain.balancers]\nodd = plug_in_odd:odd\n", "odd = 3\n")
    assert run(["balancers"]) == 0
    out, err = capsys.readouterr()
    assert "halves" in out
    assert len(err.strip().splitlines()) == 2
    assert "balancer 'bad' of bad 1.2 can't be imported from plug_in_bad:Bad: ModuleNotFound" in err
    assert "balancer 'odd' of odd 1.2 can't be used: 'odd' must be a class that derives from" in err
    balancer_from_name("halves")
    with pytest.raises(InvalidInputError, match="No module named 'no_such_library'"):
        balancer_from_name("bad")


def test_names_that_clash_are_refused_in_words(package):
    package("one", "[jointrain.balancers]\npcgrad = plug_in_one:Halves\nmy = plug_in_one:Halves\n")
    package("two", "[jointrain.balancers]\nmy = plug_in_two:Halves\n")
    listed, problems = BALANCER_NAMES.listed()
    assert (
        "one 1.2 brings a balancer 'pcgrad', a name that jointrain has itself; it is left out"
        in (problems)
    )
    assert any("both bring a balancer 'my'; uninstall one of them" in text for text in problems)
    assert {one.origin for one in listed} == {"jointrain"}
    assert type(balancer_from_name("pcgrad")).__name__ == "PCGrad"


def test_a_network_that_can_not_be_called_is_refused(package):
    package("odd", "[jointrain.networks]\nodd = plug_in_odd:odd\n", "def odd(): pass\n")
    with pytest.raises(InvalidInputError, match=r"'odd' of odd 1.2 can't be used: "):
        NETWORK_NAMES.get("odd")


BASELINE = """
import numpy as np
from jointrain.baselines import TargetBaseline, TreeEnsemble


class FirstInput(TargetBaseline):
    \"\"\"A step of the first input.\"\"\"

    name = "first input"

    def fit(self, inputs, target, classes, seed):
        high = inputs[:, 0] > 0
        means = [target.mean(), target[~high].mean(), target[high].mean()]
        tree = {"feature": [0, -1, -1], "threshold": [0.0] * 3, "left": [1, -1, -1],
                "right": [2, -1, -1], "value": np.array(means)[:, None]}
        return TreeEnsemble.of([{k: np.asarray(v) for k, v in tree.items()}], [0], [0.0])
"""


def test_a_package_adds_a_baseline(package, capsys, tmp_path):
    import numpy as np

    from jointrain import Task
    from jointrain.baselines import BaselineModel, fit_baseline
    from jointrain.errors import MissingFactoryError

    package("own", "[jointrain.baselines]\nfirst = plug_in_own:FirstInput\n", BASELINE)
    assert run(["baselines"]) == 0
    line = next(x for x in capsys.readouterr().out.splitlines() if "first " in x)
    assert "A step of the first input." in line
    assert "own 1.2" in line
    x = np.array([[-2.0], [-1.0], [1.0], [2.0]], dtype=np.float32)
    y = np.array([[1.0], [3.0], [5.0], [9.0]])
    for name in ("first", "plug_in_own:FirstInput"):
        model = fit_baseline(name, x, y, [Task.regression("y")], 0)
        assert model.predict(x)["y"].tolist() == [2, 2, 7, 7]
        folder = tmp_path / name.replace(":", "-")
        folder.mkdir()
        model.save(folder)
        if name == "first":
            assert BaselineModel.load(folder).predict(x)["y"].tolist() == [2, 2, 7, 7]
    # code that only a path names is not imported by reading
    with pytest.raises(MissingFactoryError, match="a bundle runs no code"):
        BaselineModel.load(folder)
    own = sys.modules["plug_in_own"].FirstInput
    for factories in ({"plug_in_own:FirstInput": own}, {"FirstInput": own}):
        loaded = BaselineModel.load(folder, factories=factories)
        assert loaded.predict(x)["y"].tolist() == [2, 2, 7, 7]
