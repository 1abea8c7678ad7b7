from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA

from training.plots.embedding import embedding_figure, embedding_map, principal_plane


def _unit_rows(count: int, dim: int, *, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(count, dim)) * np.arange(1, dim + 1) + 1
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_plane_and_share_are_those_of_pca() -> None:
    rows = _unit_rows(50, 6)
    plane, share = principal_plane(rows)
    pca = PCA(2).fit(rows)
    assert np.abs((pca.components_ * plane.T).sum(1)) == pytest.approx([1, 1])
    assert share == pytest.approx(pca.explained_variance_ratio_.sum())


def test_plane_does_not_depend_on_the_sign_that_a_solver_gives() -> None:
    plane, _ = principal_plane(_unit_rows(50, 6))
    assert (plane[np.abs(plane).argmax(0), [0, 1]] > 0).all()


@pytest.mark.parametrize("dim", [1, 2])
def test_in_so_few_dimensions_nothing_is_lost(dim: int) -> None:
    rows, prototypes = _unit_rows(20, dim), _unit_rows(3, dim, seed=1)
    drawn = embedding_map("", rows, np.zeros(20, np.int64), prototypes)
    assert drawn.share == pytest.approx(1)
    assert np.linalg.norm(drawn.points, axis=1) == pytest.approx(1)
    assert drawn.points @ drawn.prototypes.T == pytest.approx(rows @ prototypes.T)


def test_embeddings_that_are_one_point_are_drawn_at_it() -> None:
    row = np.array([[0.6, 0.8, 0.0]])
    drawn = embedding_map("", row.repeat(4, 0), np.zeros(4, np.int64), row)
    assert drawn.share == 1
    assert drawn.points == pytest.approx(drawn.prototypes.repeat(4, 0))


def test_points_stand_in_the_unit_circle_whose_centre_is_the_spheres() -> None:
    rows = _unit_rows(50, 6)
    drawn = embedding_map("", np.concatenate([rows, -rows[:1]]), np.zeros(51, np.int64), rows[:2])
    assert (np.linalg.norm(drawn.points, axis=1) <= 1 + 1e-12).all()
    assert drawn.points[-1] == pytest.approx(-drawn.points[0])


def test_legend_names_classes_and_title_tells_the_share() -> None:
    rows = _unit_rows(30, 6)
    drawn = embedding_map("NONL", rows, np.arange(30) % 3, rows[:3])
    figure = embedding_figure([drawn], ["a", "b", "c"])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b", "c", "prototype"]
    assert figure.axes[0].get_title() == f"NONL\n{drawn.share:.0%} of the variance is in this plane"
    drawn_points = sum(len(marks.get_offsets()) for marks in figure.axes[0].collections)
    assert drawn_points == 30 + 3


def test_classes_beyond_25_share_a_grey() -> None:
    rows = _unit_rows(30, 6)
    drawn = embedding_map("", rows, np.arange(30), rows)
    figure = embedding_figure([drawn], [str(index) for index in range(30)])
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts[24:] == ["24", "5 other classes", "prototype"]
