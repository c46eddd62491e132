"""Reads mutants, each as its number says, and tells on standard output what came of it.

Started by ``fuzz.py``, which ends it where it takes too long or too much memory.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import mutants

from jointrain.errors import JointrainError

DESCRIPTION = {"data": "a", "folds": 2}
RUN_KEYS = ["first", "second"]
_CODE = ("os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "pickle.find_class")

events: list[str] = []
"""What was seen of code that a reader has no reason to run."""


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    """Note processes and pickles."""
    if event in _CODE:
        events.append(f"{event} {arguments!r:.80}")


def make_network(tasks: Any, width: int = 4, depth: int = 1) -> Any:
    """Return a network of own modules; what a bundle tells it may be anything."""
    import torch

    from jointrain import HardSharing

    trunk = torch.nn.Sequential()
    for index in range(depth):
        trunk.append(torch.nn.Linear(width if index else 3, width))
    heads = {task.name: torch.nn.Linear(width, task.output_size) for task in tasks}
    return HardSharing(trunk.append(torch.nn.BatchNorm1d(width)), heads)


def predicted(path: Path) -> str:
    """Return a bundle's predictions of five rows, as text."""
    import torch

    from jointrain import NetworkModel, load_bundle, load_penguins

    model = load_bundle(path, factories={"make_network": make_network})
    if isinstance(model, NetworkModel):
        found = model.predict(torch.arange(15.0).reshape(5, 3))
        return str({name: values.tolist() for name, values in found.items()})
    return model.predict_table(load_penguins().head(5)).write_csv()


def read_bundle(good: Path, work: Path, random: Random) -> tuple[str, Callable[[], str], str]:
    """Return what was changed, a reader, and what it must give if it gives anything."""
    source = random.choice([path for path in sorted(good.glob("b_*")) if path.is_dir()])
    path = mutants.copied(source, work / "bundle")
    what, signed = mutants.change_bundle(path, random)
    must = "" if signed else (good / f"{source.name}.csv").read_text()
    return f"{source.name} {what}", lambda: predicted(path), must


def read_encoder(good: Path, work: Path, random: Random) -> tuple[str, Callable[[], str], str]:
    """The same of a fitted encoder."""
    from jointrain import load_penguins
    from jointrain.data import PlainEncoder, TableEncoder

    source = random.choice(sorted(good.glob("encoder*")))
    change = mutants.changed_json if source.suffix == ".json" else mutants.changed_arrays
    kind = PlainEncoder if source.suffix == ".json" else TableEncoder
    data, what = change(source.read_bytes(), random)
    path = work / source.name
    path.write_bytes(data)
    dated = mutants_frame()

    def read() -> str:
        encoder = kind.load(path)
        frame = load_penguins() if "plain" in source.name else dated
        inputs = encoder.transform(frame.head(5))
        assert inputs.shape[1] == len(encoder.feature_names)
        return ""

    return what, read, ""


def mutants_frame() -> Any:
    """Return a table with columns of every kind."""
    import datetime

    import polars as pl

    start = datetime.datetime(2024, 1, 31, 5)
    return pl.DataFrame(
        {
            "number": [1.0, None, 3.0, 7.5] * 25,
            "truth": [True, False, None, True] * 25,
            "word": ["a", "b", None, "3"] * 25,
            "text": [f"some words {i} of {i % 7}" for i in range(100)],
            "when": [start + datetime.timedelta(hours=7 * i) for i in range(100)],
            "clock": [datetime.time(i % 24, i % 60) for i in range(100)],
        }
    )


def read_baseline(good: Path, work: Path, random: Random) -> tuple[str, Callable[[], str], str]:
    """The same of a baseline."""
    import numpy as np

    from jointrain.baselines import BaselineModel

    blend = good / "b_blend" / "components"
    source = random.choice(
        [path for path in sorted(blend.iterdir()) if (path / "baseline.json").exists()]
    )
    path = mutants.copied(source, work / "baseline")
    what, _ = mutants.change_bundle(path, random)

    def read() -> str:
        model = BaselineModel.load(path)
        model.predict(np.random.default_rng(0).normal(size=(7, model.inputs)))
        return ""

    return f"{source.name} {what}", read, ""


def read_config(good: Path, work: Path, random: Random) -> tuple[str, Callable[[], str], str]:
    """The same of a config file."""
    from jointrain.cli._config_file import load_settings
    from jointrain.cli._settings import CompareSettings, FitSettings

    kind = random.choice([CompareSettings, FitSettings])
    data, what = mutants.changed_config(random, compare=kind is CompareSettings)
    path = work / "run.toml"
    path.write_bytes(data)

    def read() -> str:
        settings = load_settings(kind, {}, path)
        settings.reading  # noqa: B018 -- it reads further settings
        settings.recipe("joint")
        if isinstance(settings, CompareSettings):
            settings.chosen_recipes()
            settings.chosen_baselines()
        return ""

    return what, read, ""


def _opened(place: str) -> str:
    from jointrain.studies._run_store import RunStore

    store = RunStore.open(place, DESCRIPTION)
    with store.session():
        store.finished(RUN_KEYS)
        store.claim(["third"])
    return ""


def read_journal(good: Path, work: Path, random: Random) -> tuple[str, Callable[[], str], str]:
    """The same of a store in a folder."""
    path = mutants.copied(good / "store", work / "store")
    what = mutants.change_journal(path / "runs.jsonl", random)
    return what, lambda: _opened(str(path)), ""


def read_database(good: Path, work: Path, random: Random) -> tuple[str, Callable[[], str], str]:
    """The same of a store in a database."""
    path = mutants.copied(good / "runs.db", work / "runs.db")
    what = mutants.change_database(path, random)
    return what, lambda: _opened(f"sqlite:///{path}"), ""


def read_table(good: Path, work: Path, random: Random) -> tuple[str, Callable[[], str], str]:
    """The same of a table."""
    from jointrain.data import read_table as read

    source = random.choice(sorted(good.glob("table.*")))
    data, what = mutants.changed_bytes(source.read_bytes(), random)
    path = work / source.name
    path.write_bytes(data)
    return f"{source.name} {what}", lambda: str(read(str(path)))[:0], ""


READERS = {
    "bundle": read_bundle, "encoder": read_encoder, "baseline": read_baseline,
    "config": read_config, "journal": read_journal, "database": read_database,
    "table": read_table,
}  # fmt: skip


def outcome(read: Callable[[], str], must: str) -> tuple[str, str]:
    """Return in a word what a reader does, and how."""
    events.clear()
    try:
        found = read()
    except JointrainError as error:
        text = str(error)
        result = ("LINES" if "\n" in text else "refused", text)
    except Exception as error:
        import traceback

        frames = traceback.extract_tb(error.__traceback__)
        own = [f"{Path(f.filename).name}:{f.lineno}" for f in frames if "jointrain" in f.filename]
        result = ("FAULT", f"{type(error).__name__} at {own[-2:]}: {str(error)[:200]}")
    except BaseException as error:  # what a library written in Rust raises in despair
        result = ("PANIC", f"{type(error).__name__}: {str(error)[:200]}")
    else:
        result = ("WRONG", "another result") if must and found != must else ("read", "")
    return ("CODE", "; ".join(events)) if events else result


def prepare(good: Path) -> None:
    """Write the good files."""
    from importlib.util import find_spec

    import numpy as np

    from jointrain import Recipe, SupervisedTable, Task, fit_table, load_penguins, save_bundle
    from jointrain.baselines import BASELINES, as_baseline
    from jointrain.data import PlainEncoder, TableEncoder, infer_columns
    from jointrain.studies._run_store import RunStore
    from jointrain.tables._blended_model import BlendedModel, fit_baseline_to
    from jointrain.training import Separate

    good.mkdir(parents=True)
    penguins = load_penguins()
    table = SupervisedTable.prepare(penguins, ["species", "sex", "body_mass_g"])
    small = {"width": 8, "epochs": 1, "depth": 2}
    networks = {
        "hard": Recipe(name="joint", **small),
        "mmoe": Recipe(network="mmoe", network_options={"experts": 2}, ensemble=2, **small),
        "apart": Recipe(name="separate", schedule=Separate(), **small),
        "tabm": Recipe(network="tabm", network_options={"members": 2}, bins=2, **small),
    }
    for name, recipe in networks.items():
        save_bundle(fit_table(table, recipe, seed=1), good / f"b_{name}")
    offered = {name: as_baseline(name) for name in BASELINES}
    names = [
        name
        for name, one in offered.items()
        if one.saved and (one.package is None or find_spec(one.package))
    ]
    of_some = {"kernel ridge": table.only(["body_mass_g"])}
    of_some |= {name: table.only(["species", "sex"]) for name in names if name.endswith(" joint")}
    components = {name: fit_baseline_to(name, of_some.get(name, table), 1) for name in names}
    components["joint"] = fit_table(table, networks["hard"], seed=1)
    weights = {}
    for task in table.tasks:
        of_task = [n for n, c in components.items() if task in c.tasks]
        weights[task.name] = {name: 1 / len(of_task) for name in of_task}
    save_bundle(BlendedModel(table.tasks, table.columns, components, weights), good / "b_blend")
    tasks = [Task.regression("a"), Task.multiclass("b", 3), Task("c", "multilabel", size=2)]
    factory = functools.partial(make_network, width=5, depth=2)
    save_bundle(factory(tasks), good / "b_modules", factory=factory, tasks=tasks)
    for path in list(good.glob("b_*")):
        (good / f"{path.name}.csv").write_text(predicted(path))
    frame = mutants_frame()
    TableEncoder(bins=4).fit(frame, infer_columns(frame, frame.columns)).save(
        good / "encoder.safetensors"
    )
    PlainEncoder().fit(frame, infer_columns(frame, frame.columns)).save(good / "encoder.json")
    store_of = {"folder": str(good / "store"), "database": f"sqlite:///{good / 'runs.db'}"}
    for place in store_of.values():
        store = RunStore.open(place, DESCRIPTION)
        for key in RUN_KEYS:
            with store.session():
                store.claim([key])
                store.finish(key, [{"name": "joint", "seconds": 0.5, "test": {"a": np.ones(40)}}])
    shown = penguins.head(60)
    shown.write_csv(good / "table.csv")
    shown.write_ndjson(good / "table.jsonl")
    shown.write_parquet(good / "table.parquet")
    shown.write_ipc(good / "table.arrow")


def main() -> None:
    """Write the good files, or read mutants as standard input says."""
    good, work = Path(sys.argv[1]), Path(sys.argv[2])
    warnings.simplefilter("ignore")
    answers = os.fdopen(os.dup(1), "w")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    if not good.exists():
        prepare(good)
    for path in good.glob("b_*.csv"):  # imports what readers import, too
        assert predicted(path.with_suffix("")) == path.read_text()
    _opened(str(mutants.copied(good / "store", work)))
    shutil.rmtree(work)
    work.mkdir()
    sys.addaudithook(watch)
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        reader, number = line.split()
        random = Random(f"{reader} {number}")
        try:
            what, read, must = READERS[reader](good, work, random)
        except Exception as error:  # the change can't be made, as where nothing is left of a file
            what, word, detail = "", "unmade", repr(error)
        else:
            word, detail = outcome(read, must)
        print(json.dumps([word, detail[:400], what[:200]]), file=answers, flush=True)


if __name__ == "__main__":
    main()
