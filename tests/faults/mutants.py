"""Files of a stranger: good ones, changed at random but with sense, and signed again."""

from __future__ import annotations

import copy
import hashlib
import io
import json
import os
import re
import shutil
import sqlite3
import struct
import tarfile
import zipfile
from collections.abc import Iterator
from math import prod
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

TYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I8": "i1", "U8": "u1",
    "BOOL": "?",
}  # fmt: skip
EXTREMES = [
    -1, 0, 1, -2, 2, 7, 255, 10**6, 2**31 - 1, -(2**31), 2**63 - 1, -(2**63),
    float("nan"), float("inf"), float("-inf"), 1e300, -1e38, 1e-320,
]  # fmt: skip
DEEP: Any = []
for _ in range(800):
    DEEP = [DEEP]
HOSTILE = [
    None, True, False, -1, 0, 1, 2, 37, 255, 10**6, 10**9, 2**31, 2**63 - 1, 2**63, 2**64, 10**30,
    1e308, -1e308, 1e-320, float("nan"), float("inf"), 0.5, "", "a", "x" * 100_000,
    "../../../etc/passwd", "/etc/passwd", "\x00", "\ud800", "\x1b[2J", "é\u202e\n", "constant",
    "lightgbm", "catboost", "extra trees", "random forest joint", "regression", "binary",
    "multiclass", "custom", "networks", "baseline", "blend", "species", "sex", "body_mass_g",
    "mmoe", "ple", "mtan", "tabm", "periodic", "separate", "numeric", "category", "text",
    "datetime", "%", "%H", "Europe/Berlin", [], {}, [[]], [None], ["a", "a"], {"a": 1}, {"": {}},
    DEEP, list(range(50)), [["experts", 10**9]], [["depth", 10**7]],
]  # fmt: skip


def sign(root: Path) -> None:
    """Make all digests of a bundle right, as an attacker would, inside out."""
    inner = sorted((root / "components").glob("*")) if (root / "components").is_dir() else []
    for folder in (*inner, root):
        _sign_baseline(folder)
        _sign_bundle(folder)


def _sign_baseline(folder: Path) -> None:
    content = _object(folder / "baseline.json")
    if isinstance(content.get("digests"), dict):
        _digest_files(folder, content["digests"])
        (folder / "baseline.json").write_bytes(_text(content))


def _sign_bundle(folder: Path) -> None:
    content = _object(folder / "bundle.json")
    if not content:
        return
    if isinstance(content.get("digests"), dict):
        _digest_files(folder, content["digests"])
    content.pop("digest", None)
    try:
        canonical = json.dumps(content, sort_keys=True, ensure_ascii=False).encode()
    except (UnicodeEncodeError, RecursionError, TypeError):
        return
    content["digest"] = hashlib.sha256(canonical).hexdigest()
    (folder / "bundle.json").write_bytes(_text(content))


def _object(path: Path) -> dict[str, Any]:
    """Return a file's JSON object, {} if it holds none that can be signed."""
    if not path.is_file() or path.is_symlink():
        return {}
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _digest_files(folder: Path, digests: dict[str, Any]) -> None:
    for name in digests:
        path = folder / name
        try:
            if path.is_file() and not path.is_symlink():
                digests[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        except (ValueError, OSError):
            continue


def _text(content: Any) -> bytes:
    # as escapes: half a character has no bytes
    return json.dumps(content, ensure_ascii=True).encode()


# ---------------------------------------------------------------------------- JSON


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from _places(value[key], (*path, key))
    elif isinstance(value, list):
        for index in range(min(len(value), 40)):
            yield from _places(value[index], (*path, index))


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def change_json(content: Any, random: Random) -> str:
    """Change one part of a value that JSON holds; return what was done."""
    paths = [path for path in _places(content) if path and path[-1] != "digest"]
    path = random.choice(paths)
    parent, key = _at(content, path[:-1]), path[-1]
    where = "/".join(str(part)[:20] for part in path)
    way = random.randrange(8)
    if way == 0:
        del parent[key]
    elif way == 1 and isinstance(parent, list):
        parent.insert(key, copy.deepcopy(parent[key]))
    elif way == 2:
        parent[key] = copy.deepcopy(_at(content, random.choice(paths)))
    elif way == 3 and isinstance(parent, dict):
        parent[random.choice(["x", "kind", "", "../x", "schema_version"])] = parent.pop(key)
    elif way == 4 and isinstance(parent, list) and len(parent) > 1:
        random.shuffle(parent)
    elif way == 5 and type(parent[key]) in (int, float):
        parent[key] = parent[key] * random.choice([-1, 0, 2, 10**3, 10**6, 10**9]) + 1
    else:
        parent[key] = copy.deepcopy(random.choice(HOSTILE))
    return f"{where} way {way}"


def changed_json(data: bytes, random: Random) -> tuple[bytes, str]:
    """Return JSON with one or two parts changed, or as text that is hardly JSON."""
    content = json.loads(data)
    what = change_json(content, random)
    if isinstance(content, (dict, list)) and content and random.random() < 0.25:
        what += " and " + change_json(content, random)
    text = _text(content)
    match random.randrange(40):
        case 0:
            return b"[" * 100_000 + text, "100,000 brackets"
        case 1:
            return text[:-1] + b', "tasks": []' + text[-1:], "a key twice"
        case 2:
            return text + b" " * 10 + b"{}", "more behind it"
        case 3:
            return b"\xff\xfe" + text, "no UTF-8"
        case 4:
            return text.replace(b"1", b"9" * 5000, 1), "a number of 5,000 digits"
    return text, what


# ---------------------------------------------------------------------------- safetensors


def _unpacked(data: bytes) -> tuple[dict[str, str], dict[str, tuple[str, list[int], bytes]]]:
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + size])
    body = data[8 + size :]
    notes = header.pop("__metadata__", {})
    return notes, {
        name: (one["dtype"], one["shape"], body[slice(*one["data_offsets"])])
        for name, one in header.items()
    }


def _packed(notes: dict[str, str], arrays: dict[str, tuple[str, list[int], bytes]]) -> bytes:
    header: dict[str, Any] = {"__metadata__": notes} if notes else {}
    body = b""
    for name, (dtype, shape, data) in arrays.items():
        ends = [len(body), len(body) + len(data)]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": ends}
        body += data
    text = json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(text)) + text + body


def changed_arrays(data: bytes, random: Random) -> tuple[bytes, str]:
    """Return safetensors with an array changed, whole in form most of the time."""
    notes, arrays = _unpacked(data)
    name = random.choice(list(arrays))
    dtype, shape, content = arrays[name]
    way = random.randrange(9)
    if name in ("text", "state.json") and way < 7:
        text, what = changed_json(content, random)
        arrays[name] = dtype, [len(text)], text
        return _packed(notes, arrays), f"text: {what}"
    if way == 0:
        return _broken_header(data, random)
    if way == 1:
        del arrays[name]
    elif way == 2:
        arrays[random.choice(["x", "../x", "0.x", name + ".0", "7." + name])] = arrays.pop(name)
    elif way == 3:  # well formed, of another type
        dtype = random.choice(list(TYPES))
        size = prod(shape) * np.dtype(TYPES[dtype]).itemsize
        arrays[name] = dtype, shape, random.randbytes(size)
    elif way == 4:  # well formed, of another shape
        shape = random.choice([[0], [], [1, *shape], [*shape, 1], shape[::-1], [*shape[:-1], 3]])
        size = prod(shape) * np.dtype(TYPES.get(dtype, "<f4")).itemsize
        arrays[name] = dtype, shape, (content * (size // max(1, len(content)) + 1))[:size]
    else:
        arrays[name] = dtype, shape, _changed_values(dtype, content, random)
    return _packed(notes, arrays), f"{name} way {way}"


def _changed_values(dtype: str, content: bytes, random: Random) -> bytes:
    values = np.frombuffer(content, TYPES.get(dtype, "u1")).copy()
    if not values.size:
        return content
    hostile = [*EXTREMES, values.size - 1, values.size, values.size + 1]
    with np.errstate(all="ignore"):
        for _ in range(random.choice([1, 1, 3, 30])):
            value = np.array(random.choice(hostile), dtype=object)
            try:
                values[random.randrange(values.size)] = value.astype(values.dtype)
            except (OverflowError, ValueError):
                continue
    if random.random() < 0.1:
        values[:] = values[random.randrange(values.size)]
    return values.tobytes()


def _broken_header(data: bytes, random: Random) -> tuple[bytes, str]:
    size = struct.unpack("<Q", data[:8])[0]
    if random.random() < 0.5:
        claimed = random.choice([0, 1, 2**40, 2**63, 2**64 - 1, size + 1, size - 1, 10**8])
        return struct.pack("<Q", claimed) + data[8:], "header of another length"
    header = json.loads(data[8 : 8 + size])
    entry = header[random.choice(list(header))]
    if random.random() < 0.5:
        entry["shape"] = random.choice([[10**9, 10**9], [-1], [2**63], [2**32, 2**32], [0, 2**62]])
    else:
        entry["data_offsets"] = random.choice([[0, 2**62], [5, 1], [-1, 4], [2**63, 2**63 + 4]])
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + size :], "header that lies"


# ---------------------------------------------------------------------------- files of version 0.1


def old_bundles(folder: Path) -> Path:
    """Unpack what ``tests/bundle/old/make.py`` wrote into a folder, and return it."""
    with tarfile.open(Path(__file__).parents[1] / "bundle" / "old" / "bundles.tar.xz") as file:
        file.extractall(folder, filter="data")
    return folder


def changed_skops(data: bytes, random: Random) -> tuple[bytes, str]:
    """Return an archive of skops with its schema, or the values of an array, changed."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    name = random.choice(["schema.json", *files])
    if name == "schema.json":
        files[name], what = changed_json(files[name], random)
    elif random.random() < 0.3:
        files[name], what = changed_bytes(files[name], random)
    else:
        files[name], what = _changed_npy(files[name], random)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for inner, content in files.items():
            archive.writestr(inner, content)
    return packed.getvalue(), f"{name} {what}"


def _changed_npy(data: bytes, random: Random) -> tuple[bytes, str]:
    array = np.load(io.BytesIO(data))
    field = random.choice(array.dtype.names) if array.dtype.names else None
    values = array if field is None else array[field]
    if values.size:
        kind = {str(np.dtype(form)): name for name, form in TYPES.items()}
        made = _changed_values(kind.get(str(values.dtype), "U8"), values.tobytes(), random)
        values.reshape(-1)[:] = np.frombuffer(made, values.dtype)
    changed = io.BytesIO()
    np.save(changed, array)
    return changed.getvalue(), f"values {field or ''}"


def changed_numbers(data: bytes, random: Random) -> tuple[bytes, str]:
    """Return a text with one of its numbers changed."""
    found = random.choice(list(re.finditer(rb"-?[0-9.]+", data)))
    put = str(random.choice([*EXTREMES, "9" * 5000, "", "a"])).encode()
    return data[: found.start()] + put + data[found.end() :], f"number at {found.start()}"


# ---------------------------------------------------------------------------- bytes and files


def changed_bytes(data: bytes, random: Random) -> tuple[bytes, str]:
    """Return bytes of which some are others, missing or new."""
    changed = bytearray(data)
    way = random.randrange(5)
    place = random.randrange(max(1, len(changed)))
    if way < 2:
        for _ in range(random.choice([1, 2, 16]) if changed else 0):
            changed[random.randrange(len(changed))] = random.randrange(256)
    elif way == 2:
        del changed[place:]
    elif way == 3:
        del changed[place : place + random.randrange(1, 64)]
    else:
        changed[place:place] = random.randbytes(random.randrange(1, 64))
    return bytes(changed), f"bytes way {way}"


def change_file_kind(path: Path, random: Random) -> str:
    """Put something that is no file of its own in the place of a file."""
    path.unlink()
    match random.randrange(7):
        case 0:
            return "missing"
        case 1:
            os.mkfifo(path)
            return "a pipe"
        case 2:
            path.symlink_to("/dev/zero")
            return "a link to /dev/zero"
        case 3:
            path.symlink_to("/etc/passwd")
            return "a link out"
        case 4:
            path.symlink_to(path.name)
            return "a link to itself"
        case 5:
            path.mkdir()
            return "a folder"
    path.write_bytes(b"")
    return "empty"


CHANGES = {
    ".json": changed_json, ".skops": changed_skops, ".txt": changed_numbers, ".cbm": changed_bytes,
}  # fmt: skip
"""How files are changed with sense, by their ending; others are safetensors."""


def change_bundle(root: Path, random: Random) -> tuple[str, bool]:
    """Change a file of a bundle; return what was done, and whether all is signed again."""
    path = random.choice([path for path in root.rglob("*") if path.is_file()])
    name, draw = path.relative_to(root).as_posix(), random.random()
    if draw < 0.02:
        what = change_file_kind(path, random)
    elif draw < 0.1:
        data, what = changed_bytes(path.read_bytes(), random)
        path.write_bytes(data)
    else:
        change = CHANGES.get(path.suffix, changed_arrays)
        data, what = change(path.read_bytes(), random)
        path.write_bytes(data)
    signed = random.random() < 0.9
    if signed:
        sign(root)
    return f"{name}: {what}{'' if signed else ' (not signed)'}", signed


# ---------------------------------------------------------------------------- config and stores

CONFIG = """\
table = "penguins.csv"
targets = ["species", "sex"]
task = {sex = "binary"}
weights = "equal"
width = 32
depth = 2
epochs = 5
bins = 8
dropout = 0.1
network = "mmoe"
network-option = {experts = 2}
learning-rate = 2e-3
recipes = ["separate", "joint"]
baselines = ["constant", "linear"]
folds = 2
seeds = 1
budget = "60s"
column = {year = "number"}
date-format = "%d/%m/%Y"
"""
_TOML = [
    "1", "-1", "0", "1e9", "1e400", "inf", "nan", "-nan", "9" * 5000, "10" * 15, '""', '"a"', "[]",
    "{}", "true", "[[[]]]", "[{}]", "{a = {}}", '["a", 1]', '"\\u0000"', '"\\u001b[2J"',
    '"/dev/zero"',
    "1979-05-27", "07:32:00", "[" * 5000, '"' + "x" * 100_000 + '"', '["species", "species"]',
    "0x7fffffffffffffff", "2147483648", "1000000000", '"1e9s"', '"infs"', '{experts = 1000000000}',
]  # fmt: skip


ONLY_COMPARE = ("recipes", "baselines", "folds", "seeds", "budget")


def changed_config(random: Random, *, compare: bool) -> tuple[bytes, str]:
    """Return a config file of ``compare`` or ``fit`` with some values changed."""
    lines = [one for one in CONFIG.splitlines() if compare or not one.startswith(ONLY_COMPARE)]
    for _ in range(random.choice([1, 1, 2])):
        index = random.randrange(len(lines))
        key = lines[index].split(" = ")[0]
        lines[index] = f"{key} = {random.choice(_TOML)}"
    if random.random() < 0.1:
        lines.append(random.choice(["x = 1", "[table]", "width = 3", "[a" + ".a" * 50_000 + "]"]))
    text = "\n".join(lines).encode()
    return changed_bytes(text, random) if random.random() < 0.2 else (text, "values")


def signed_state(data: bytes) -> bytes:
    """Return a stored state with its checksum made right, where it has a place for one."""
    from jointrain.training.checkpoints._stored_state import FORMAT

    found = re.search(rf'"{FORMAT}":"(.{{64}})"'.encode(), data)
    if found is None:
        return data
    none = data[: found.start(1)] + b"0" * 64 + data[found.end(1) :]
    digest = hashlib.blake2b(none, digest_size=32).hexdigest().encode()
    return data[: found.start(1)] + digest + data[found.end(1) :]


def change_journal(path: Path, random: Random) -> str:
    """Change a line of a store's journal."""
    data = path.read_bytes()
    if random.random() < 0.2:
        data, what = changed_bytes(data, random)
    else:
        lines = data.splitlines()
        index = random.randrange(len(lines))
        content = json.loads(lines[index])
        attributes = content.get("user_attr") or content.get("user_attrs")
        if isinstance(attributes, dict) and attributes and random.random() < 0.6:
            what = _change_attribute(attributes, random)
        else:
            what = change_json(content, random)
        lines[index] = _text(content)
        data = b"\n".join(lines) + b"\n"
    path.write_bytes(data)
    return what


def _change_attribute(attributes: dict[str, Any], random: Random) -> str:
    name = random.choice(list(attributes))
    value = attributes[name]
    if isinstance(value, str) and value[:1] in ("{", "["):
        content = json.loads(value)
        what = change_json(content, random)
        attributes[name] = json.dumps(content)
        return f"{name}: {what}"
    attributes[name] = copy.deepcopy(random.choice(HOSTILE))
    return name


def change_database(path: Path, random: Random) -> str:
    """Change a value of a store's database."""
    if random.random() < 0.2:
        data, what = changed_bytes(path.read_bytes(), random)
        path.write_bytes(data)
        return what
    with sqlite3.connect(path) as base:
        table = random.choice(["trial_user_attributes", "trials", "trial_values", "studies"])
        names = [row[1] for row in base.execute(f"pragma table_info({table})")]
        column = random.choice(names)
        simple = [value for value in HOSTILE if isinstance(value, (str, float)) or value is None]
        value = random.choice([*simple, 1, -1, 2**62, b"\x80\x04.", '{"a": 1}'])
        if isinstance(value, str) and "\ud800" in value:
            value = "x"
        try:
            base.execute(
                f"update {table} set {column} = ? where rowid = "
                f"(select rowid from {table} order by random() limit 1)",
                (value,),
            )
        except sqlite3.Error as error:
            return f"{table}.{column}: {error}"
    base.close()
    return f"{table}.{column}"


def copied(source: Path, target: Path) -> Path:
    """Return a fresh copy of a file or folder."""
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    else:
        target.unlink(missing_ok=True)
    if source.is_dir():
        return Path(shutil.copytree(source, target))
    return Path(shutil.copy(source, target))
