"""Which precision a training computes in where its recipe leaves that to the machine."""

from __future__ import annotations

import torch

from training.recipe import Recipe


def settled(recipe: Recipe, earlier: str | None = None) -> Recipe:
    """The recipe with ``precision = auto`` replaced by what this machine trains in.

    Args:
        recipe: what to train.
        earlier: what a run that is resumed was begun with: it stays, also on another machine.
    """
    if recipe.precision != "auto":
        return recipe
    return recipe.model_copy(update={"precision": earlier or machine_precision()})


def machine_precision() -> str:
    """``bf16`` where the device has instructions for it, else ``fp32``.

    A processor without them converts at every step: ResNet-20 trains at an eighth of float32's speed on AVX2.
    """
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    # Older versions of torch do not tell.
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return "bf16" if any(capabilities.get(name) for name in _BF16) else "fp32"


_BF16 = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")
