"""An index of embeddings: the nearest images of a query, and how often the first is of its class (recall@1).

The same digits under two encoders: one that was trained on them, and one that was trained on photographs, whose
embedding has collapsed onto other classes and keeps little of these.

    python examples/retrieval_index.py

prints on one CPU core:

    proto_resnet20_cifar.nonl_digits: 1437 images in the index, 360 queries
      recall@1 99.17%, recall@5 99.72%
      nearest to a 6: 6 at 1.000, 6 at 1.000, 6 at 1.000, 6 at 1.000, 6 at 1.000
    proto_resnet20_cifar.nonl_cifar10: 1437 images in the index, 360 queries
      recall@1 40.00%, recall@5 75.83%
      nearest to a 6: 0 at 0.997, 0 at 0.996, 6 at 0.995, 8 at 0.995, 6 at 0.995
"""

import numpy as np
from sklearn.neighbors import NearestNeighbors

import zoo
from training.data import digits_split

QUERY = 3  # which one to show

(train, labels), (test, wanted) = (
    ([picture for picture, _ in part], np.array([label for _, label in part])) for part in digits_split()
)
for name in ("proto_resnet20_cifar.nonl_digits", "proto_resnet20_cifar.nonl_cifar10"):
    encoder = zoo.load(name)
    index = NearestNeighbors(n_neighbors=5, metric="cosine").fit(encoder.embed(train))
    distances, found = index.kneighbors(encoder.embed(test))
    right = labels[found] == wanted[:, None]
    print(f"{name}: {len(train)} images in the index, {len(test)} queries")
    print(f"  recall@1 {right[:, 0].mean():.2%}, recall@5 {right.any(1).mean():.2%}")
    cosines = 1 - distances[QUERY]
    nearest = ", ".join(f"{label} at {cosine:.3f}" for label, cosine in zip(labels[found[QUERY]], cosines, strict=True))
    print(f"  nearest to a {wanted[QUERY]}: {nearest}")
