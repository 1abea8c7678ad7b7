"""Which precision a training computes in where its recipe leaves that to the machine."""

from __future__ import annotations

from functools import cache

import torch
from torch import nn

from training.recipe import Recipe, RecipeError
from zoo.loading import list_models
from zoo.models.base import size_args, timm_model


def settled(recipe: Recipe, earlier: str | None = None) -> Recipe:
    """The recipe with ``precision = auto`` replaced by what this machine trains in.

    Args:
        recipe: what to train.
        earlier: what a run that is resumed was begun with: it stays, also on another machine.
    """
    if recipe.precision != "auto":
        return recipe
    precision = earlier or machine_precision()
    if earlier is None and precision == "bf16" and _left_unwritten(recipe):
        precision = "fp32"
    return recipe.model_copy(update={"precision": precision})


def check_gradients(recipe: Recipe) -> None:
    """Refuse bfloat16 where this machine would compute wrong gradients with it.

    Raises:
        RecipeError: it would.
    """
    if recipe.precision == "bf16" and (names := _left_unwritten(recipe)):
        raise RecipeError(
            f"precision = bf16, and images of {recipe.input_size} pixels are one pixel wide before "
            f"{', '.join(names)}, whose gradients torch leaves unwritten on a CPU then: pass --precision fp32, "
            "or a larger --input_size"
        )


def _left_unwritten(recipe: Recipe) -> tuple[str, ...]:
    """Convolutions whose gradients this machine would not write in bfloat16."""
    return () if torch.cuda.is_available() else strided_over_one_pixel(recipe.architecture, recipe.input_size)


@cache
def strided_over_one_pixel(architecture: str, size: int) -> tuple[str, ...]:
    """Convolutions of more than one pixel that stride over an image one pixel wide.

    For their weights' gradient in bfloat16 torch 2.14 returns uninitialised memory on a CPU (oneDNN), NaN among it, but
    where the kernel meets the pixel. Float32 is right, and so are convolutions without a stride.

    Args:
        architecture: a name of the zoo.
        size: side of the square image in pixels.
    """
    if architecture not in list_models():
        return ()  # build_model says so
    found: list[str] = []

    def look(convolution: nn.Conv2d, inputs: tuple[torch.Tensor, ...]) -> None:
        if inputs[0].shape[-1] == 1 and convolution.stride[1] > 1 and convolution.kernel_size[1] > 1:
            found.append(names[convolution])

    with torch.device("meta"), torch.no_grad():
        model = timm_model(architecture, **size_args(architecture, size)).eval()
        names = {module: name for name, module in model.named_modules() if isinstance(module, nn.Conv2d)}
        for convolution in names:
            convolution.register_forward_pre_hook(look)
        model.forward_features(torch.empty(1, 3, size, size))
    return tuple(found)


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
