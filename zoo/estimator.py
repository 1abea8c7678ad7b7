"""scikit-learn's verbs for prototypes on the sphere."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.preprocessing import normalize
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

_TEXTS = ("O", "S", "U")  # NumPy's kinds


class NearestPrototype(ClassifierMixin, BaseEstimator):
    r"""The class whose prototype has the largest cosine with an embedding; prototypes are unit class means.

    .. math:: w_c = \frac{m_c}{\|m_c\|}, \quad m_c = \sum_{i:\,y_i = c} \frac{z_i}{\|z_i\|}, \quad
        \hat y = \arg\max_c \cos(z, w_c)

    For embeddings of :meth:`zoo.Classifier.embed`, or any others. Sums are kept in float64, so that the order in which
    images come does not matter, and :meth:`partial_fit` adds classes at any time.

    Args:
        temperature: probabilities are the softmax of cosine / temperature.

    Attributes:
        classes_: (K,) sorted labels.
        prototypes_: (K, d) float64 unit rows; zeros for a class whose embeddings cancel.
        sums_: (K, d) float64, sums of the unit embeddings of each class.
        counts_: (K,) int64, embeddings of each class.

    Example:
        >>> import numpy as np, zoo
        >>> estimator = zoo.NearestPrototype().fit(np.eye(3), ["ant", "bee", "cat"])
        >>> estimator.predict([[0.9, 0.1, 0.0]]).tolist()
        ['ant']

    Source: the nearest-class-mean classifier, on the sphere as in "Neural Collapse by Design" (arXiv 2605.20302).
    """

    classes_: NDArray[Any]
    prototypes_: NDArray[np.float64]
    sums_: NDArray[np.float64]
    counts_: NDArray[np.int64]

    def __init__(self, temperature: float = 0.2) -> None:
        self.temperature = temperature

    def fit(self, X: ArrayLike, y: ArrayLike) -> NearestPrototype:  # noqa: N803 - scikit-learn's names
        """Forget what was, and take the class means of embeddings (N, d) with labels (N,).

        Raises:
            ValueError: shapes that do not fit, values that are not finite, or a temperature that is not positive.
        """
        for name in ("classes_", "prototypes_", "sums_", "counts_"):
            if hasattr(self, name):
                delattr(self, name)
        return self.partial_fit(X, y)

    def partial_fit(
        self,
        X: ArrayLike,  # noqa: N803
        y: ArrayLike,
        classes: ArrayLike | None = None,
    ) -> NearestPrototype:
        """Add embeddings (N, d) with labels (N,), of classes seen before or new ones.

        ``classes`` is what scikit-learn asks for at the first call: labels that may come later, which have no prototype
        until they do. It is not needed.

        Raises:
            ValueError: as :meth:`fit`, or labels that are numbers where those before were texts, or the reverse.
        """
        if not self.temperature > 0:
            raise ValueError(f"temperature must be positive, not {self.temperature}")
        first = not hasattr(self, "sums_")
        rows, labels = validate_data(self, X, y, reset=first, dtype=np.float64)
        check_classification_targets(labels)
        added = _joined(np.unique(labels), () if classes is None else classes)
        if first:
            self.classes_, self.sums_ = np.empty(0, labels.dtype), np.zeros((0, rows.shape[1]))
            self.counts_ = np.zeros(0, np.int64)
        self._grow(_joined(self.classes_, added))
        index = np.searchsorted(self.classes_, labels)
        np.add.at(self.sums_, index, normalize(rows))
        np.add.at(self.counts_, index, 1)
        self.prototypes_ = normalize(self.sums_)
        return self

    def _grow(self, known: NDArray[Any]) -> None:
        sums, counts = np.zeros((len(known), self.sums_.shape[1])), np.zeros(len(known), np.int64)
        places = np.searchsorted(known, self.classes_)
        sums[places], counts[places] = self.sums_, self.counts_
        self.classes_, self.sums_, self.counts_ = known, sums, counts

    def cosines(self, X: ArrayLike) -> NDArray[np.float64]:  # noqa: N803
        """(N, K) cosines of embeddings (N, d) to the prototypes."""
        check_is_fitted(self)
        rows = validate_data(self, X, reset=False, dtype=np.float64)
        found: NDArray[np.float64] = normalize(rows) @ self.prototypes_.T
        return found

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:  # noqa: N803
        """:meth:`cosines`; for two classes, as scikit-learn has it, the second's less the first's, (N,)."""
        cosines = self._seen_only(self.cosines(X))
        return cosines[:, 1] - cosines[:, 0] if len(self.classes_) == 2 else cosines

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:  # noqa: N803
        """(N, K) softmax of cosine / temperature."""
        logits = self._seen_only(self.cosines(X)) / self.temperature
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        found: NDArray[np.float64] = weights / weights.sum(axis=1, keepdims=True)
        return found

    def predict(self, X: ArrayLike) -> NDArray[Any]:  # noqa: N803
        """(N,) labels of the nearest prototypes."""
        nearest = self._seen_only(self.cosines(X)).argmax(axis=1)
        labels: NDArray[Any] = self.classes_[nearest]
        return labels

    def _seen_only(self, cosines: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(self.counts_ > 0, cosines, -np.inf)


def _joined(labels: NDArray[Any], others: ArrayLike) -> NDArray[Any]:
    """All labels, sorted; NumPy would make texts of numbers beside texts."""
    more = np.asarray(others)
    if len(labels) and len(more) and (labels.dtype.kind in _TEXTS) != (more.dtype.kind in _TEXTS):
        one, other = labels.tolist()[0], more.tolist()[0]
        raise ValueError(f"labels are all numbers or all texts, not {one!r} and {other!r}: fit anew with one kind")
    joined: NDArray[Any] = np.union1d(labels, more) if len(more) else labels
    return joined
