"""A state as a file: comes back to the bit, can't run code, and no change of a byte goes unseen."""

import math
import pickle
import random
from collections import OrderedDict

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from jointrain import InvalidInputError
from jointrain.system.stored_files import DamagedError
from jointrain.training.checkpoints._stored_state import from_bytes, to_bytes


def _same(one, two):
    if isinstance(one, torch.Tensor):
        return one.dtype == two.dtype and one.shape == two.shape and torch.equal(one, two)
    if isinstance(one, np.ndarray):
        return one.dtype == two.dtype and np.array_equal(one, two)
    if isinstance(one, float) and math.isnan(one):
        return math.isnan(two)
    if isinstance(one, dict):
        return list(one) == list(two) and all(_same(one[key], two[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return type(one) is type(two) and len(one) == len(two) and all(map(_same, one, two))
    return type(one) is type(two) and one == two


STATE = {
    "plain": [1, -(2**62), 0.1, 5e-324, "text", "Löss", True, None, {}],
    "far": [math.inf, -math.inf, math.nan, 2**200, -(2**63) - 1],
    "pairs": {0: {"step": torch.tensor(3.0)}, 1: (0.9, 0.999), "$tuple": [], (1, "a"): 0},
    "$odd": {"$tensor": "not one"},
    "tensors": [
        torch.arange(6).reshape(2, 3).T,
        torch.tensor(2.5, dtype=torch.bfloat16),
        torch.tensor([], dtype=torch.float16),
        torch.tensor([True, False]),
        torch.zeros(3, dtype=torch.uint8),
        torch.tensor([math.nan, 1.0], dtype=torch.float64).nan_to_num(7.0),
    ],
    "array": np.arange(4, dtype=np.uint32),
}


def test_a_state_comes_back_to_the_bit():
    assert _same(from_bytes(to_bytes(STATE)), STATE)


def test_the_same_state_gives_the_same_bytes():
    assert to_bytes(STATE) == to_bytes(from_bytes(to_bytes(STATE)))


def test_kinds_of_dictionaries_and_numpy_numbers_become_plain():
    assert _same(from_bytes(to_bytes(OrderedDict(a=np.float64(0.5)))), {"a": 0.5})


def test_tied_weights_are_stored():
    weight = torch.randn(3, 3)
    back = from_bytes(to_bytes({"one": weight, "two": weight, "part": weight[0]}))
    assert torch.equal(back["one"], back["two"])
    assert torch.equal(back["part"], weight[0])


def test_the_states_of_an_optimiser_are_stored():
    weight = torch.nn.Parameter(torch.randn(3))
    optimizer = torch.optim.AdamW([weight], lr=0.1, fused=True)
    weight.sum().backward()
    optimizer.step()
    assert _same(from_bytes(to_bytes(optimizer.state_dict())), optimizer.state_dict())


@pytest.mark.parametrize("thing", [object(), {1, 2}, b"bytes", lambda: None, torch.float32])
def test_anything_else_is_refused_by_its_place(thing):
    with pytest.raises(InvalidInputError, match=r"callbacks\[1\]\.seen is of type"):
        to_bytes({"callbacks": [{}, {"seen": thing}]})


def test_a_sparse_tensor_is_refused():
    with pytest.raises(InvalidInputError, match="best is a sparse tensor"):
        to_bytes({"best": torch.eye(3).to_sparse()})


def test_every_cut_is_noticed():
    data = to_bytes({"weights": torch.randn(40), "step": 3})
    for length in range(len(data)):
        with pytest.raises(DamagedError):
            from_bytes(data[:length])
    with pytest.raises(DamagedError):
        from_bytes(data + b"\0")


def test_every_changed_byte_is_noticed():
    data = to_bytes({"weights": torch.randn(40), "step": 3})
    draw = random.Random(0)
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 1 << draw.randrange(8)
        with pytest.raises(DamagedError):
            from_bytes(bytes(changed))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 100,
        pickle.dumps({"a": 1}),
        save({"a": torch.zeros(1)}),
        save({"a": torch.zeros(1)}, {"jointrain-state-1-blake2b": "0" * 64}),
        save({"a": torch.zeros(1)}, {"jointrain-state-1-blake2b": ""}),
    ],
)
def test_other_files_are_refused(data):
    with pytest.raises(DamagedError):
        from_bytes(data)


def test_the_file_is_safetensors_that_others_read():
    assert "state.json" in load(to_bytes(STATE))
