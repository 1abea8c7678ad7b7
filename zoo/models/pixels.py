"""The model as a bundle's users see it: pixels in, embeddings and cosines out. Python and the ONNX graph share it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.bundle import Preprocessing
from zoo.models.base import PrototypeModel
from zoo.models.heads import unit


class PixelModel(nn.Module):
    """uint8 images -> unit embeddings and cosines, normalisation included.

    Args:
        model: a model of the zoo with prototypes; it is put into evaluation mode.
        preprocessing: whose mean and std to apply.

    Shape: uint8 (N, H, W, 3) -> float32 (N, d), (N, K); with a readout of offsets also the logits, (N, K).
    """

    model: PrototypeModel
    mean: Tensor
    std: Tensor
    prototypes: Tensor
    offsets: Tensor

    def __init__(self, model: PrototypeModel, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.model = model.eval()
        self.register_buffer("mean", torch.tensor(preprocessing.mean), persistent=False)
        self.register_buffer("std", torch.tensor(preprocessing.std), persistent=False)
        self.register_buffer("prototypes", unit(model.prototypes.detach()).clone(), persistent=False)
        self.register_buffer("offsets", model.offsets.detach().clone(), persistent=False)
        self.temperature = model.temperature
        self.bayes = model.head.readout == "bayes"

    def embed(self, images: Tensor) -> Tensor:
        """uint8 (N, H, W, 3) -> float32 (N, d) unit embeddings."""
        pixels = (images.float() / 255 - self.mean) / self.std
        return self.model.embed(pixels.permute(0, 3, 1, 2))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Embed and compare with every prototype."""
        embeddings = self.embed(images)
        cosines = F.linear(embeddings, self.prototypes)
        if self.bayes:
            return embeddings, cosines, cosines / self.temperature + self.offsets
        return embeddings, cosines
