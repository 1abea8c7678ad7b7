"""The metrics once more, by loops over samples, pairs and classes; and data to measure."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.metrics import NeuralCollapse
from zoo.geometry import simplex_etf

Array = NDArray[np.float64]


def unit(vector: Array) -> Array:
    return vector / math.sqrt(sum(value**2 for value in vector))


def covariance(rows: Array) -> Array:
    mean = sum(rows) / len(rows)
    return sum(np.outer(row - mean, row - mean) for row in rows) / len(rows)


def erank(matrix: Array, convention: str) -> float:
    variances = [max(value, 0.0) for value in np.linalg.eigvalsh(matrix)]
    shares = [value / sum(variances) for value in variances]
    if convention == "reference":
        shares = [(share + 1e-7) / sum(share + 1e-7 for share in shares) for share in shares]
    return math.exp(-sum(share * math.log(share) for share in shares if share > 0))


def entropy(gram: Array, convention: str) -> float:
    shares = np.linalg.eigvalsh(gram) / len(gram)
    if convention == "reference":
        return -sum(max(share, 1e-10) * math.log(max(share, 1e-10)) for share in shares)
    return -sum(share * math.log(share) for share in shares if share > 1e-14)


def mean_over_pairs_of_means(means: list[Array], variances: list[float]) -> float:
    count = len(means)
    values = [
        (variances[i] + variances[j]) / (2 * ((means[i] - means[j]) ** 2).sum())
        for i in range(count)
        for j in range(count)
        if i != j
    ]
    return float(sum(values) / len(values))


def gram_distance(rows: Array, target: Array) -> float:
    count = len(rows)
    gram = [[float(rows[i] @ rows[j]) for j in range(count)] for i in range(count)]
    other = [[float(target[i] @ target[j]) for j in range(count)] for i in range(count)]
    norm = math.sqrt(sum(value**2 for row in gram for value in row))
    other_norm = math.sqrt(sum(value**2 for row in other for value in row))
    return math.sqrt(
        sum((gram[i][j] / norm - other[i][j] / other_norm) ** 2 for i in range(count) for j in range(count))
    )


def naive_metrics(features: Array, labels: Array, prototypes: Array, convention: str = "corrected") -> NeuralCollapse:
    """Absent classes are left out, and classes of one sample where a covariance or a pair is needed."""
    present = sorted(set(labels.tolist()))
    count = len(present)
    groups = [features[labels == label] for label in present]
    means = [sum(group) / len(group) for group in groups]
    weights = [unit(prototypes[label]) for label in present]
    mean_of_means, mean_of_samples = sum(means) / count, sum(features) / len(features)
    pairs = [
        float(((group[i] - group[j]) ** 2).sum())
        for group in groups
        for i in range(len(group))
        for j in range(len(group))
        if i != j
    ]
    scatters = [sum(((row - mean) ** 2).sum() for row in group) for group, mean in zip(groups, means, strict=True)]
    between = sum(len(g) * ((mean - mean_of_samples) ** 2).sum() for g, mean in zip(groups, means, strict=True))
    to_weights = [((row - weights[present.index(y)]) ** 2).sum() for row, y in zip(features, labels, strict=True)]
    if convention == "reference":
        centred = np.array([unit(unit(mean) - unit(mean_of_samples)) for mean in means])
    else:
        centred = np.array([unit(mean - mean_of_means) for mean in means])
    gram_weights, gram_means = np.array(weights) @ np.array(weights).T, centred @ centred.T
    of_weights, of_means = entropy(gram_weights, convention), entropy(gram_means, convention)
    mutual = of_weights + of_means - entropy(gram_weights * gram_means, convention)
    # The centred means of two classes are antipodal: their entropy is 0, and so is what they can share.
    nothing_shared = count == 2 and convention == "corrected"
    eranks = [erank(covariance(group), convention) for group in groups if len(group) > 1]
    simplex = np.eye(count) - 1 / count
    return NeuralCollapse(
        intra_erank=sum(eranks) / len(eranks),
        inter_erank=erank(covariance(np.array(means)), convention),
        weight_erank=erank(covariance(np.array(weights)), convention),
        weight_alignment=sum(((w - unit(m)) ** 2).sum() for w, m in zip(weights, means, strict=True)) / count,
        weight_instance_alignment=sum(to_weights) / len(to_weights),
        instance_alignment=sum(pairs) / len(pairs),
        mir=0.0 if nothing_shared else mutual / min(of_weights, of_means),
        hdr=abs(of_weights - of_means) / max(of_weights, of_means),
        trace_ratio=sum(scatters) / between,
        cdnv=mean_over_pairs_of_means(means, [s / len(g) for s, g in zip(scatters, groups, strict=True)]),
        etf_cosine_error=max(
            abs(unit(means[i]) @ unit(means[j]) + 1 / (count - 1)) for i in range(count) for j in range(count) if i != j
        ),
        etf_gram_distance=gram_distance(np.array(means), simplex),
    )


def sample(counts: list[int], dim: int = 7, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Unit features around class centres, labels in random order, prototypes of any norm."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=generator)]
    centres = torch.randn(len(counts), dim, generator=generator)
    noise = torch.randn(len(labels), dim, generator=generator)
    features = torch.nn.functional.normalize(centres[labels] + 0.7 * noise, dim=1)
    return features, labels, 3 * torch.randn(len(counts), dim, generator=generator)


def collapsed(classes: int, dim: int, copies: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    prototypes = simplex_etf(classes, dim, generator=torch.Generator().manual_seed(0)).double()
    prototypes = torch.nn.functional.normalize(prototypes, dim=1)
    labels = torch.arange(classes).repeat(copies)
    return prototypes[labels], labels, prototypes
