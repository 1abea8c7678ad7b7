"""Wider angles for rare classes: fixed prototypes with more room around the tail, against the simplex.

On long-tailed digits a linear layer behind a frozen encoder learns to reach fixed prototypes: all equally far apart, or
the five rare ones farther away. Test digits are balanced; means and deviations are over three choices of images.

    python examples/long_tail_geometry.py

prints on one CPU core (runs differ by some points; here the angles make no difference to speak of):

    training images of each class: [142, 99, 67, 45, 31, 21, 14, 10, 6, 4]
    frequent 96.4 degrees apart: 99.1 ± 0.7 %; rare 96.4 degrees: 80.2 ± 3.4 %
    frequent 90.0 degrees apart: 99.3 ± 0.5 %; rare 97.8 degrees: 78.1 ± 3.2 %
    frequent 72.5 degrees apart: 99.4 ± 0.5 %; rare 99.7 degrees: 76.9 ± 2.6 %
"""

import numpy as np
import timm
import torch
from torch import Tensor, nn

import zoo
from training.data import load_data, to_input, to_tensor
from training.long_tail import long_tailed
from training.losses import normface
from zoo.geometry import simplex_etf, wide_margin_simplex

NAME, RARE, CHOICES, STEPS = "proto_resnet20_cifar.nonl_cifar10", range(5, 10), 3, 150


def encoded(part, encoder, preprocessing) -> tuple[Tensor, Tensor]:
    with torch.inference_mode():
        maps = encoder(to_input(to_tensor(part), preprocessing))[0]
    return nn.functional.adaptive_avg_pool2d(maps, 4).flatten(1).clone(), torch.from_numpy(part.labels)


def accuracies(prototypes: Tensor, train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]) -> list[float]:
    torch.manual_seed(0)
    projection = nn.Sequential(nn.BatchNorm1d(512), nn.Linear(512, 64))
    optimizer = torch.optim.Adam(projection.parameters(), 1e-3)
    for _ in range(STEPS):
        optimizer.zero_grad()
        normface(nn.functional.normalize(projection(train[0]), dim=1) @ prototypes.T / 0.1, train[1]).backward()
        optimizer.step()
    right = (projection.eval()(test[0]) @ prototypes.T).argmax(1) == test[1]
    return [right[(test[1] >= 5) == rare].float().mean().item() for rare in (False, True)]


preprocessing = zoo.load(NAME).bundle.preprocessing
encoder = timm.create_model(NAME, pretrained=True, features_only=True, out_indices=(2,)).eval()
data = load_data("digits", preprocessing)
tails = [long_tailed(data.train, 0.03, seed=seed) for seed in range(CHOICES)]
print(f"training images of each class: {np.bincount(tails[0].labels).tolist()}")
test, *trains = (encoded(part, encoder, preprocessing) for part in (data.test, *tails))
for cosine in (-1 / 9, 0.0, 0.3):
    prototypes = wide_margin_simplex(10, 64, RARE, cosine=cosine) if cosine >= 0 else simplex_etf(10, 64)
    angles = torch.rad2deg(torch.acos(torch.stack([prototypes[0] @ prototypes[1], prototypes[8] @ prototypes[9]])))
    right = 100 * np.array([accuracies(prototypes, train, test) for train in trains])
    texts = [f"{column.mean():.1f} ± {column.std():.1f} %" for column in right.T]
    print(f"frequent {angles[0]:.1f} degrees apart: {texts[0]}; rare {angles[1]:.1f} degrees: {texts[1]}")
