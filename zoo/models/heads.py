"""The prototype head: pooling, a signed projection, the unit sphere, and cosines to the prototypes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from timm.layers import SelectAdaptivePool2d
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.geometry import simplex_etf, simplex_sum


def unit(x: Tensor, eps: float = 1e-6) -> Tensor:
    """Rows of ``x`` (..., d) scaled to unit norm, in at least float32; a zero row stays zero."""
    if x.dtype in (torch.float16, torch.bfloat16):
        x = x.float()
    return F.normalize(x, dim=-1, eps=eps)


def _cosines(embeddings: Tensor, prototypes: Tensor) -> Tensor:
    # bfloat16 resolves a cosine near 1 to 0.004 only, and a temperature of 0.05 multiplies that by 20: under autocast
    # this one product stays in float32.
    if not torch.jit.is_scripting():
        device = embeddings.device.type
        if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
            with torch.autocast(device, enabled=False):
                return F.linear(embeddings, prototypes)
    return F.linear(embeddings, prototypes)


# Symbolic tracing cannot follow a choice by dtype or autocast state: both stay calls in the graph.
torch.fx.wrap("unit")
torch.fx.wrap("_cosines")


class PrototypeClassifier(nn.Module):
    r"""Logits of unit embeddings: cosine to each class's prototype, divided by the temperature.

    With ``readout="bayes"`` every class has an offset beside its prototype, :math:`s_c = \cos_c / \tau + o_c`. NTCE and
    NONL scale each class's logits over the images and not over the classes, so that they model p(image | class): what
    Bayes' rule adds to compare classes is the class's log-prior less its log-denominator over the training set. The
    offsets are estimated after training (``training.readout``) and are no part of the objective.

    Args:
        in_features: d.
        num_classes: K.
        temperature: tau > 0; kept in the state dict (float32), so that weights without their config keep it.
        prototypes: "learned" (a parameter, normalised on the fly) or "fixed" (a buffer, unit rows; until weights are
            loaded or :meth:`set_prototypes` is called, a simplex, or where that needs more dimensions, a sum of
            simplices (K <= 2 d) or random directions).
        readout: "cosine" (the nearest prototype wins) or "bayes" (offsets are added; 0 until weights are loaded).

    Shape: (M, d) unit rows -> (M, K).

    Source: NormFace (Wang et al. 2017); eq. 3 of "Neural Collapse by Design".
    """

    if TYPE_CHECKING:  # torch.jit reads annotations of a class
        weight: Tensor
        temperature: Tensor
        offsets: Tensor

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        temperature: float,
        prototypes: str = "learned",
        readout: str = "cosine",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"the temperature must be positive, not {temperature}")
        self.in_features = in_features
        self.num_classes = num_classes
        self.learned = prototypes == "learned"
        weight = torch.empty(num_classes, in_features, device=device, dtype=dtype)
        if self.learned:
            self.weight = nn.Parameter(weight)
        elif prototypes == "fixed":
            self.register_buffer("weight", weight)
        else:
            raise ValueError(f'prototypes must be "learned" or "fixed", not {prototypes!r}')
        if readout not in ("cosine", "bayes"):
            raise ValueError(f'readout must be "cosine" or "bayes", not {readout!r}')
        self.bayes = readout == "bayes"
        offsets = torch.zeros(num_classes, device=device, dtype=torch.float32)
        self.register_buffer("offsets", offsets, persistent=self.bayes)
        self.register_buffer("temperature", torch.tensor(temperature, device=device, dtype=torch.float32))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw new prototypes: random directions if learned, a geometry in closed form if fixed; offsets of 0."""
        self.offsets.zero_()
        if not self.learned and self.num_classes <= 2 * self.in_features:
            if not self.weight.is_meta:
                geometry = simplex_etf if self.num_classes <= self.in_features + 1 else simplex_sum
                self.weight.copy_(geometry(self.num_classes, self.in_features))
            return
        self.weight.normal_()
        self.weight.copy_(unit(self.weight))

    @torch.no_grad()
    def set_prototypes(self, prototypes: Tensor) -> None:
        """Put (K, d) unit rows in the place of the prototypes."""
        norms = prototypes.norm(dim=-1)
        if prototypes.shape != self.weight.shape or not bool(((norms - 1).abs() < 1e-3).all()):
            raise ValueError(f"prototypes must be unit rows of shape {tuple(self.weight.shape)}")
        self.weight.copy_(prototypes)

    @torch.no_grad()
    def set_offsets(self, offsets: Tensor) -> None:
        """Read out by ``cosine / temperature + offsets``, (K,), from now on; they travel with the state dict."""
        if offsets.shape != (self.num_classes,) or not bool(offsets.isfinite().all()):
            raise ValueError(f"offsets must be {self.num_classes} finite numbers, not of shape {tuple(offsets.shape)}")
        self.bayes = True
        self.register_buffer("offsets", offsets.detach().to(self.offsets).clone())

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> PrototypeClassifier:
        # .half() must not round what is added to or divides every logit.
        before = self.temperature, self.offsets
        super()._apply(fn, recurse)
        if self.temperature.dtype != before[0].dtype:
            self.temperature, self.offsets = (value.to(self.temperature.device) for value in before)
        return self

    @property
    def prototypes(self) -> Tensor:
        """(K, d) unit rows, at least float32."""
        return unit(self.weight)

    def forward(self, embeddings: Tensor, classes: Tensor | None = None) -> Tensor:
        """Logits, computed in at least float32, in the type of the weights.

        Args:
            embeddings: (M, d) unit rows.
            classes: (C,) int64, the classes whose logits are wanted; None: all. NTCE and NONL need those of a batch's
                own classes alone (``training.losses.present_classes``), which for many classes saves most of the work.

        Returns:
            (M, K), or (M, C) in the order of ``classes``.
        """
        # A property is not scriptable, hence the same expression here.
        weight = self.weight if classes is None else self.weight.index_select(0, classes)
        logits = _cosines(embeddings, unit(weight).to(embeddings.dtype)) / self.temperature
        if self.bayes:
            logits = logits + (self.offsets if classes is None else self.offsets.index_select(0, classes))
        return logits.to(self.weight.dtype)

    def extra_repr(self) -> str:
        """Shape and kind, for print(model)."""
        kind = "learned" if self.learned else "fixed"
        readout = "bayes" if self.bayes else "cosine"
        return (
            f"in_features={self.in_features}, num_classes={self.num_classes}, prototypes={kind!r}, readout={readout!r}"
        )

    __jit_unused_properties__ = ("prototypes",)


def _projection(kind: str, in_features: int, embed_dim: int, **dd: Any) -> nn.Module:
    """What stands between pooling and normalisation; all but "relu" let an embedding have negative coordinates."""
    if kind in ("batchnorm", "relu") and embed_dim != in_features:
        raise ValueError(
            f'head="{kind}" keeps the width of the features: embed_dim must be {in_features}, not {embed_dim}'
        )
    if kind == "linear":
        return nn.Linear(in_features, embed_dim, **dd)
    if kind == "batchnorm":
        return nn.BatchNorm1d(in_features, **dd)
    if kind == "mlp":
        return nn.Sequential(
            nn.Linear(in_features, in_features, **dd), nn.ReLU(inplace=True), nn.Linear(in_features, embed_dim, **dd)
        )
    if kind == "relu":
        return nn.Identity()
    raise ValueError(f'head must be "linear", "batchnorm", "mlp" or "relu", not {kind!r}')


class PrototypeHead(nn.Module):
    """Features -> pooled -> projected -> unit embedding -> logits, with the verbs of timm's ``ClassifierHead``.

    A ResNet's pooled features come out of a ReLU and are non-negative, so no cosine between them can be negative and a
    simplex is out of reach. The projection makes the embedding signed; ``kind="relu"`` leaves it out, for runs that
    repeat the papers' code.

    Args:
        in_features: channels of the backbone's feature map.
        num_classes: K; 0 leaves the classifier out, and the head returns unit embeddings.
        kind: "linear", "batchnorm", "mlp" or "relu".
        embed_dim: d; None keeps the pooled width.
        temperature: tau.
        prototypes: "learned" or "fixed".
        readout: "cosine" or "bayes", see :class:`PrototypeClassifier`.
        classifier: "cosine", or "linear" for plain cross-entropy's un-normalised classifier with a bias.
        pool_type: timm's; "" leaves pooling and projection out, and the head returns the feature map (with a
            classifier it cannot: forward raises).
        drop_rate: dropout on the pooled features.
        input_fmt: "NCHW" or "NHWC", the order of the feature map's dimensions.
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        kind: str = "linear",
        embed_dim: int | None = None,
        temperature: float = 0.2,
        prototypes: str = "learned",
        readout: str = "cosine",
        classifier: str = "cosine",
        pool_type: str = "avg",
        drop_rate: float = 0.0,
        input_fmt: str = "NCHW",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if classifier not in ("cosine", "linear"):
            raise ValueError(f'classifier must be "cosine" or "linear", not {classifier!r}')
        self.in_features = in_features
        self.kind = kind
        self.embed_dim = embed_dim
        self.initial_temperature = temperature
        self.prototype_kind = prototypes
        self.readout = readout
        self.cosine = classifier == "cosine"
        self.input_fmt = input_fmt
        self.drop = nn.Dropout(drop_rate)
        self._build_pooling(pool_type)
        self._build_projection(device=device, dtype=dtype)
        self._build_classifier(num_classes, device=device, dtype=dtype)

    def _build_pooling(self, pool_type: str) -> None:
        self.global_pool = SelectAdaptivePool2d(pool_type=pool_type, flatten=bool(pool_type), input_fmt=self.input_fmt)
        self.pooled = bool(pool_type)
        self.pooled_features = self.in_features * self.global_pool.feat_mult()

    def _build_projection(self, **dd: Any) -> None:
        self.num_features = self.pooled_features
        self.projection: nn.Module = nn.Identity()
        if self.pooled:
            self.num_features = self.embed_dim or self.pooled_features
            self.projection = _projection(self.kind, self.pooled_features, self.num_features, **dd)

    def _build_classifier(self, num_classes: int, **dd: Any) -> None:
        if num_classes <= 0:
            self.fc: nn.Module = nn.Identity()
        elif self.cosine:
            self.fc = PrototypeClassifier(
                self.num_features,
                num_classes,
                temperature=self.initial_temperature,
                prototypes=self.prototype_kind,
                readout=self.readout,
                **dd,
            )
        else:
            self.fc = nn.Linear(self.num_features, num_classes, **dd)
        self.has_classifier = num_classes > 0

    def reset(
        self,
        num_classes: int,
        pool_type: str | None = None,
        *,
        in_features: int | None = None,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        """Draw a new classifier.

        The projection stays while what it takes in does. It is drawn anew where the pooled features become more or
        fewer ("catavgmax", another ``in_features``), and where there was no pooling.
        """
        if isinstance(self.fc, PrototypeClassifier) and not self.fc.temperature.is_meta:
            self.initial_temperature = float(self.fc.temperature)
        before = self.pooled, self.pooled_features
        self.in_features = in_features or self.in_features
        self._build_pooling(self.global_pool.pool_type if pool_type is None else pool_type)
        if (self.pooled, self.pooled_features) != before:
            self._build_projection(device=device, dtype=dtype)
        self._build_classifier(num_classes, device=device, dtype=dtype)
        self.train(self.training)

    def forward(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Feature map (N, C, H, W) -> (N, K) logits, or (N, d) unit embeddings with ``pre_logits`` or K = 0."""
        x = self.global_pool(x)
        if not self.pooled:
            if self.has_classifier:
                raise RuntimeError("global_pool='' leaves no embedding to classify: reset_classifier(n, 'avg')")
            return x
        x = self.projection(self.drop(x))
        if pre_logits or not self.has_classifier:
            return unit(x)
        logits: Tensor = self.fc(unit(x) if self.cosine else x)
        return logits
