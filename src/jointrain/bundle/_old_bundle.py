"""Bundles of schema 1, which jointrain 0.1 wrote, written anew as those of today.

They hold files of skops, LightGBM and CatBoost in place of plain arrays. Whoever made one may have
made it to do harm, so it is read without these libraries, in a process of limited memory and time,
and what comes of it is loaded there before it is given out.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as save_weights

from jointrain.bundle._blend import COMPONENTS, digests_of_files
from jointrain.bundle._bundle import read_bundle
from jointrain.bundle._description import (
    DESCRIPTION,
    OLD_SCHEMA,
    SCHEMA_VERSION,
    bundle_folder,
    check_digest,
    describe_bundle,
    digest,
    whole,
    with_digest,
    without_digest,
)
from jointrain.bundle._entries import ENCODER, ERRORS, WEIGHTS, read_weights
from jointrain.bundle._old_files import (
    Arrays,
    boosting_of,
    catboost_of,
    forest_of,
    lightgbm_of,
    lines_of,
    read_skops,
)
from jointrain.errors import InvalidInputError
from jointrain.system import array_file
from jointrain.system.output_folder import write_new_folder
from jointrain.system.stored_files import DamagedError, json_to_bytes, read_file, read_json
from jointrain.system.worker_processes import submit
from jointrain.tables import Residuals

_MEMORY = 1 << 31
"""Bytes that reading an old bundle may take."""

_SECONDS = 120
"""Seconds that it may take."""

_RESIDUALS = "residuals of "
"""What the names of sizes of errors begin with among the weights."""

_SKOPS_ENCODER, _MODELS = "encoder.skops", "baseline.skops"
_DESCRIBED, _ARRAYS = "baseline.json", "baseline.safetensors"


def convert_bundle(path: str | Path, target: str | Path, *, force: bool = False) -> Path:
    """Write a bundle of jointrain 0.1 as one that this jointrain loads; the old one stays.

    Its predictions are the same, and so are intervals of tasks with up to 499 held-out rows; those
    of more rows are at most wider by the distance of neighbouring errors.

    Args:
        path: The old bundle, or the folder that `compare` wrote around it.
        target: The folder to make.
        force: Replace the folder if jointrain wrote it.

    Raises:
        InvalidInputError: It is no bundle of version 0.1, is damaged, or takes more than two
            minutes or, on Linux, where the system sees to it, 2 GiB; or `target` exists or can't
            be written.
    """
    folder = bundle_folder(path)
    describe_bundle(folder, schema=OLD_SCHEMA)
    return write_new_folder(target, lambda new: _convert_apart(folder, new), force=force)


def _convert_apart(old: Path, new: Path) -> None:
    """Convert in a process of its own."""
    from concurrent.futures import BrokenExecutor

    pool, converted = submit(_Conversion(old.resolve(), new.resolve()), new=True)
    try:
        converted.result(timeout=_SECONDS)
        return
    except TimeoutError:
        reason = f"it takes more than {_SECONDS} seconds"
    except MemoryError:
        reason = f"it takes more than {_MEMORY >> 30} GiB of memory"
    except BrokenExecutor:
        reason = "the process that read it died"
    finally:
        pool.shutdown(wait=False, kill_workers=True)
    raise InvalidInputError(f"{old} can't be converted: {reason}; fit the model again")


@dataclass(frozen=True)
class _Conversion:
    """A bundle that is written anew.

    Args:
        old: The bundle of schema 1.
        new: An empty folder.
    """

    old: Path
    new: Path

    def run(self) -> None:
        """Write the new bundle and load it."""
        _limit_memory()
        convert_here(self.old, self.new)


def _limit_memory() -> None:
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, _MEMORY))


def convert_here(old: Path, new: Path) -> None:
    """Write an old bundle into an empty folder, and load it.

    Raises:
        InvalidInputError: It is damaged.
    """
    _convert(old, new)
    try:
        read_bundle(new)
    except InvalidInputError as error:
        reason = str(error).replace(f"{new}/", "").replace(str(new), "it")
        raise InvalidInputError(f"{old} can't be converted: {reason}") from None


def _convert(old: Path, new: Path) -> None:
    """Write the files of an old bundle anew; what does not fit together is not noticed yet."""
    content = describe_bundle(old, schema=OLD_SCHEMA)
    with whole(old):
        if "kind" in content:
            _convert_blend(old, new, content)
        else:
            _convert_networks(old, new, content)


def _convert_blend(old: Path, new: Path, content: dict[str, Any]) -> None:
    if digests_of_files(old, content["digests"]) != content["digests"]:
        raise DamagedError("its files are not those that were saved")
    for index, entry in enumerate(content["components"]):
        source, made = (folder / COMPONENTS / str(index) for folder in (old, new))
        made.mkdir(parents=True)
        if entry["kind"] == "networks":
            inner = describe_bundle(source, schema=OLD_SCHEMA)
            _convert_networks(source, made, inner)
        else:
            _convert_encoder(source, made / ENCODER)
            _convert_baseline(source, made)
    _convert_weights(old, new, content)
    content["digests"] = digests_of_files(new)
    _write(new, content)


def _convert_networks(old: Path, new: Path, content: dict[str, Any]) -> None:
    _convert_weights(old, new, content)
    data = read_file(old / _SKOPS_ENCODER, folder=old)
    check_digest(data, _SKOPS_ENCODER, content["digests"])
    _convert_encoder(old, new / ENCODER)
    recipe = content["recipe"]
    recipe["optimizer_layout"] = recipe.pop("layout")
    names = (WEIGHTS, ENCODER)
    content["digests"] = {name: digest((new / name).read_bytes()) for name in names}
    _write(new, content)


def _write(new: Path, content: dict[str, Any]) -> None:
    content["schema_version"] = SCHEMA_VERSION
    (new / DESCRIPTION).write_bytes(with_digest(without_digest(content)))


def _convert_encoder(old: Path, new: Path) -> None:
    """Write an encoder's arrays, and its text, as they are."""
    state = read_skops(read_file(old / _SKOPS_ENCODER, folder=old))
    new.write_bytes(array_file.to_bytes(state["arrays"], state["text"]))


def _convert_weights(old: Path, new: Path, content: dict[str, Any]) -> None:
    """Write the networks' weights as they are, and errors with two signs in place of sizes."""
    weights = read_weights(old, content["digests"])
    for entry in content["tasks"]:
        if entry["unseen_rows"] is not None:
            sizes = weights.pop(_RESIDUALS + entry["name"]).numpy()
            errors = Residuals.symmetric(entry["unseen_rows"], sizes)
            entry["unseen_rows"], entry["interval_scale"] = errors.rows, errors.scale
            weights[ERRORS + entry["name"]] = torch.from_numpy(errors.errors)
    (new / WEIGHTS).write_bytes(save_weights(weights))


def _convert_baseline(old: Path, new: Path) -> None:
    described = read_json(old / _DESCRIBED, folder=old)
    files = {name: read_file(old / name, folder=old) for name in described["digests"]}
    for name, data in files.items():
        check_digest(data, name, described["digests"])
    data = b""
    if files:
        models = _models(described["name"], files)
        arrays = {
            f"{name}.{key}": one for name, model in models.items() for key, one in model.items()
        }
        data = array_file.to_bytes(arrays)
        (new / _ARRAYS).write_bytes(data)
    described["digests"] = {_ARRAYS: hashlib.sha256(data).hexdigest()} if files else {}
    (new / _DESCRIBED).write_bytes(json_to_bytes(described, indent=1))


def _models(name: str, files: Mapping[str, bytes]) -> dict[str, Arrays]:
    """Return the model of each task, by its number, as arrays."""
    if name == "lightgbm":
        return {file.removesuffix(".txt"): lightgbm_of(data) for file, data in files.items()}
    if name == "catboost":
        return {file.removesuffix(".cbm"): catboost_of(data) for file, data in files.items()}
    held = read_skops(files[_MODELS])
    if name == "linear":
        return {task: lines_of(model) for task, model in held.items()}
    if name == "gradient boosting":
        return {task: boosting_of(model) for task, model in held.items()}
    if name in ("random forest", "extra trees"):
        tasks = {key.partition(".")[0] for key in held}
        return {
            task: forest_of(*(held[f"{task}.{key}"] for key in ("nodes", "values", "counts")))
            for task in sorted(tasks)
        }
    raise DamagedError(f"jointrain 0.1 had no baseline {json.dumps(name)[:40]}")
