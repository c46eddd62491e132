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


def predicted(path: Path, rows_of: str = "") -> str:
    """Return a bundle's predictions of five rows, as text."""
    import torch

    from jointrain import NetworkModel, load_bundle, load_penguins

    model = load_bundle(path, factories={"make_network": make_network})
    if isinstance(model, NetworkModel):
        found = model.predict(torch.arange(15.0).reshape(5, 3))
        return str({name: values.tolist() for name, values in found.items()})
    own = path.name if path.name in OTHER_ROWS else rows_of
    rows = OTHER_ROWS[own]() if own in OTHER_ROWS else load_penguins()
    return model.predict_table(rows.head(5)).write_csv()


def read_bundle(good: Path, work: Path, random: Random) -> tuple[str, Callable[[], str], str]:
    """Return what was changed, a reader, and what it must give if it gives anything."""
    source = random.choice([path for path in sorted(good.glob("b_*")) if path.is_dir()])
    path = mutants.copied(source, work / "bundle")
    what, signed = mutants.change_bundle(path, random)
    must = "" if signed else (good / f"{source.name}.csv").read_text()
    return f"{source.name} {what}", lambda: predicted(path, source.name), must


def read_old(good: Path, work: Path, random: Random) -> tuple[str, Callable[[], str], str]:
    """The same of a bundle of version 0.1, which is converted."""
    from jointrain.bundle._old_bundle import convert_here

    source = random.choice(["networks", "blend"])
    path = mutants.copied(good / "old" / source, work / "old")
    what, _ = mutants.change_bundle(path, random)
    new = work / "new"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()

    def read() -> str:
        convert_here(path, new)
        return ""

    return f"{source} {what}", read, ""


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


def kinds_frame() -> Any:
    """Return a table with a target of every kind, ids and bags."""
    import numpy as np
    import polars as pl

    random, rows = np.random.default_rng(0), 80
    x = random.normal(size=(rows, 2))
    shares = random.dirichlet([1, 1, 1], rows)
    return pl.DataFrame(
        {
            "x": x[:, 0],
            "user_id": [1000 + i % 17 for i in range(rows)],
            "tags": ["|".join(random.choice(list("pqrst"), 2)) for _ in range(rows)],
            "words": [f"some words {i} of {i % 7}" for i in range(rows)],
            "years": random.exponential(1, rows),
            "dead": random.random(rows) < 0.6,
            "crp": ["<0.5" if one < 0.5 else f"{one:.2f}" for one in np.exp(x[:, 1])],
            **{name: shares[:, i] for i, name in enumerate(("clay", "sand", "silt"))},
            "gout": np.where(x[:, 0] > 0, "yes", "no"),
            "copd": np.where(x[:, 1] > 0, 1, 0),
            "stay": x[:, 0] + random.normal(size=rows),
            "pain": x[:, 1],
            "visits": random.poisson(np.exp(x[:, 0])),
            "falls": random.poisson(1, rows),
            "stage": np.digitize(x[:, 0], [-1, 1]),
            "click": (x[:, 0] > -0.5).astype(int),
            "buy": [None if one <= -0.5 else int(one > 0.3) for one in x[:, 0]],
        }
    )


KINDS = {
    "death": "survival:years:dead", "crp": "censored", "soil": "proportions:clay:sand:silt",
    "diseases": "multilabel:gout:copd", "stay": "quantiles:0.1:0.5:0.9", "pain": "mean-variance",
    "visits": "negative-binomial", "falls": "count", "stage": "ordinal", "click": "binary",
    "buy": "binary",
}  # fmt: skip
OTHER_ROWS = {"b_kinds": kinds_frame, "b_kinds_blend": kinds_frame, "b_streamed": kinds_frame}
"""The rows of bundles that do not predict penguins."""


def read_baseline(good: Path, work: Path, random: Random) -> tuple[str, Callable[[], str], str]:
    """The same of a baseline."""
    import numpy as np

    from jointrain.baselines import BaselineModel

    inner = sorted(good.glob("b_*blend/components/*/baseline.json"))
    source = random.choice(inner).parent
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


def read_history(good: Path, work: Path, random: Random) -> tuple[str, Callable[[], str], str]:
    """The same of the history of `evaluate`."""
    from jointrain.tables import Promise

    data, what = mutants.changed_json((good / "history.json").read_bytes(), random)
    path = work / "history.json"
    path.write_bytes(data)

    def read() -> str:
        _with_history(path, Promise("loss", 0.3, 0.5, 100))
        return ""

    return what, read, ""


def _with_history(path: Path, promise: Any) -> None:
    import numpy as np
    import polars as pl

    from jointrain.cli._since_training import History, SinceTraining, print_since_training

    history = History(path, {"weights.safetensors": "ab"})
    tests = history.after(pl.DataFrame({"x": [1]}), {"y": np.full(40, 0.4)}, {"y": promise})
    found = SinceTraining({}, drift=[], promises={"y": promise}, tests=tests)
    print_since_training(found)
    found.to_json({})
    history.write()


def read_checkpoint(good: Path, work: Path, random: Random) -> tuple[str, Callable[[], str], str]:
    """The same of a checkpoint, as `watch` and a training that goes on read it."""
    path = mutants.copied(good / "fitted", work / "fitted")
    file, *older = sorted(path.glob("*/step-*.safetensors"), reverse=True)
    for one in older:
        one.unlink()
    data, what = mutants.changed_arrays(file.read_bytes(), random)
    if random.random() < 0.9:
        data = mutants.signed_state(data)
    file.write_bytes(data)

    def read() -> str:
        from jointrain.training import Checkpoints
        from jointrain.training.checkpoints import CheckpointFolder

        watched(path)
        folder = CheckpointFolder(Checkpoints(file.parent))
        try:
            folder.newest()
        finally:
            folder.close()
        return ""

    return what, read, ""


def watched(path: Path) -> None:
    """Print what `watch` shows of a folder."""
    from jointrain.cli._watch import watch

    watch(str(path), once=True)


def read_watch(good: Path, work: Path, random: Random) -> tuple[str, Callable[[], str], str]:
    """The same of a store that is watched, and that a page is made of."""
    from jointrain.cli._report import report

    path = mutants.copied(good / "study", work / "study")
    what = mutants.change_journal(path / "runs.jsonl", random)
    read = random.choice([watched, lambda path: report(path, "separate", False)])
    return what, lambda: str(read(path)), ""


READERS = {
    "bundle": read_bundle, "old bundle": read_old, "encoder": read_encoder,
    "baseline": read_baseline, "config": read_config, "journal": read_journal,
    "database": read_database, "table": read_table, "history": read_history,
    "checkpoint": read_checkpoint, "watch": read_watch,
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
    from jointrain.cli import run
    from jointrain.data import (
        PlainEncoder,
        StreamedTable,
        TableEncoder,
        infer_columns,
        table_files,
    )
    from jointrain.studies._run_store import RunStore
    from jointrain.tables import Promise, fit_streamed
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
    rows = kinds_frame()
    said = {"tags": "bag"}
    given = {"buy": "click"}
    kinds = SupervisedTable.prepare(rows, list(KINDS), kinds=KINDS, said=said, given=given)
    save_bundle(fit_table(kinds, networks["hard"], seed=1), good / "b_kinds")
    simple = kinds.only([name for name in KINDS if name != "stay"])
    of_kinds = {
        "linear": fit_baseline_to("linear", kinds, 1),
        "extra trees": fit_baseline_to("extra trees", simple, 1),
    }
    half = {task.name: dict.fromkeys(of_kinds, 0.5) for task in simple.tasks}
    half["stay"] = {"linear": 1.0}
    save_bundle(BlendedModel(kinds.tasks, kinds.columns, of_kinds, half), good / "b_kinds_blend")
    (good / "streamed").mkdir()
    rows.write_parquet(good / "streamed" / "rows.parquet")
    streamed = StreamedTable.prepare(table_files(good / "streamed"), ["pain", "gout"])
    save_bundle(fit_streamed(streamed, networks["hard"]), good / "b_streamed")
    tasks = [Task.regression("a"), Task.multiclass("b", 3), Task("c", "multilabel", size=2)]
    factory = functools.partial(make_network, width=5, depth=2)
    save_bundle(factory(tasks), good / "b_modules", factory=factory, tasks=tasks)
    mutants.old_bundles(good / "old")
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
    _with_history(good / "history.json", Promise("loss", 0.3, 0.5, 100))
    quick = ["--targets", "sex,body_mass_g", "--epochs", "2", "--width", "8", "--ensemble", "1"]
    fitted = ["--checkpoints", str(good / "fitted"), "--checkpoint-every", "1"]
    table_path = str(good / "table.csv")
    assert run(["fit", table_path, *quick, "--out", str(good / "fit"), *fitted]) == 0
    described = {"folds": 2, "seeds": 1, "recipes": {"joint": {}}, "baselines": {}}
    study = RunStore.open(good / "study", described)
    with study.session():
        row = {"task": "y", "metric": "RMSE", "value": 1.0}
        study.claim(RUN_KEYS[:1])
        study.finish(RUN_KEYS[0], [{"name": "joint", "fold": 0, "seed": 0, "rows": [row]}])


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
        reader, number = line.rsplit(maxsplit=1)
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
