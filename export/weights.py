"""Weights as bytes that depend on nothing but the weights."""

from __future__ import annotations

import json
from collections.abc import Mapping

import torch
from safetensors.torch import save


def weights_bytes(state: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> bytes:
    """A safetensors file, the same bytes for the same tensors and metadata.

    Args:
        state: contiguous tensors by name.
        metadata: written beside ``format``, which timm and transformers ask for.
    """
    data = save(dict(state), {"format": "pt", **metadata})
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    # safetensors sorts the tensors, but writes the metadata in the order of a hash map with a random seed.
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[end:]
