"""Weights as bytes."""

import torch
from safetensors import safe_open
from safetensors.torch import load

from export.weights import weights_bytes

STATE = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.ones((), dtype=torch.long), "é": torch.zeros(2).half()}
METADATA = {f"key {n}": str(n) for n in range(5)}


def test_the_same_weights_are_the_same_bytes():
    # In a hash map's order, five keys would come out alike twenty times by a chance of nothing.
    assert len({weights_bytes(STATE, METADATA) for _ in range(20)}) == 1


def test_they_are_read_back_as_they_were(tmp_path):
    data = weights_bytes(STATE, METADATA)
    back = load(data)
    assert back.keys() == STATE.keys()
    for name, tensor in STATE.items():
        assert back[name].dtype == tensor.dtype
        assert torch.equal(back[name], tensor)
    (tmp_path / "weights").write_bytes(data)
    with safe_open(tmp_path / "weights", "pt") as file:
        assert file.metadata() == {"format": "pt", **METADATA}
