"""Classes that come one by one: each is enrolled as the mean of 20 images, and no earlier prototype moves.

The encoder has seen photographs only. Its embedding knows no classes but theirs; the stage before the last still tells
digits apart. At the end stands what all classes at once give: the same, as there is nothing to forget.

    python examples/incremental_classes.py

prints on one CPU core:

     1 classes: accuracy 100.00%, of zeros 100.00%; old prototypes moved by 0.0
     2 classes: accuracy  87.50%, of zeros 100.00%; old prototypes moved by 0.0
     3 classes: accuracy  81.31%, of zeros 100.00%; old prototypes moved by 0.0
     4 classes: accuracy  84.72%, of zeros 100.00%; old prototypes moved by 0.0
     5 classes: accuracy  86.67%, of zeros 100.00%; old prototypes moved by 0.0
     6 classes: accuracy  88.48%, of zeros 100.00%; old prototypes moved by 0.0
     7 classes: accuracy  90.12%, of zeros 100.00%; old prototypes moved by 0.0
     8 classes: accuracy  90.66%, of zeros 100.00%; old prototypes moved by 0.0
     9 classes: accuracy  88.89%, of zeros 100.00%; old prototypes moved by 0.0
    10 classes: accuracy  85.00%, of zeros 100.00%; old prototypes moved by 0.0
    all at once: accuracy 85.00%
"""

import numpy as np
import timm
import torch
from torch.nn import functional as F

import zoo
from training.data import digits_split

NAME, IMAGES_A_CLASS = "proto_resnet20_cifar.nonl_cifar10", 20

encoder = timm.create_model(NAME, pretrained=True, features_only=True, out_indices=(2,)).eval()
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(zoo.create_model(NAME, pretrained=True)))


def encoded(part):
    """Features (N, 512) and labels (N,)."""
    images = torch.stack([transform(picture.convert("RGB")) for picture, _ in part])
    with torch.inference_mode():
        features = F.adaptive_avg_pool2d(encoder(images)[0], 4).flatten(1)
    return features.numpy(), np.array([label for _, label in part])


(train, digits), (test, truth) = map(encoded, digits_split())
chosen = [np.flatnonzero(digits == digit)[:IMAGES_A_CLASS] for digit in range(10)]
estimator, before = zoo.NearestPrototype(), np.empty((0, train.shape[1]))
for digit, rows in enumerate(chosen):
    estimator.partial_fit(train[rows], digits[rows])
    seen, zeros = truth <= digit, truth == 0
    accuracy, first = (estimator.score(test[part], truth[part]) for part in (seen, zeros))
    moved = np.abs(estimator.prototypes_[:-1] - before).max(initial=0)
    print(f"{digit + 1:2} classes: accuracy {accuracy:7.2%}, of zeros {first:7.2%}; old prototypes moved by {moved}")
    before = estimator.prototypes_

rows = np.concatenate(chosen)
at_once = zoo.NearestPrototype().fit(train[rows], digits[rows])
print(f"all at once: accuracy {at_once.score(test, truth):.2%}")
