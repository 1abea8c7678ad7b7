"""Draw what the sphere is for: an image's angle to the prototypes, and when the nearest one is certain.

``python docs/pictures/sphere.py`` writes sphere.png and certified.png beside itself; see docs/how-it-works.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from objectives import COLOURS, GREY, INK, Floats, draw_sphere, leaning

HALO = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1}
LEAN = 20


def point(longitude: float, latitude: float) -> Floats:
    """(3,) on the sphere as it is shown, from degrees; (0, 0) is towards the reader."""
    east, north = np.radians([longitude, latitude])
    upright = np.array([[np.sin(east) * np.cos(north), np.sin(north), np.cos(east) * np.cos(north)]])
    placed: Floats = leaning(upright, LEAN)[0]
    return placed


def angle(one: Floats, other: Floats) -> float:
    """Between unit vectors, in degrees."""
    return float(np.degrees(np.arccos(one @ other)))


def arc(axes: Axes, start: Floats, end: Floats, **style: Any) -> Floats:
    """Draw the shortest way on the sphere; returns its middle."""
    turns = np.linspace(0, 1, 60)[:, None] * np.radians(angle(start, end))
    across = end - (end @ start) * start
    way: Floats = np.cos(turns) * start + np.sin(turns) * across / np.linalg.norm(across)
    axes.plot(way[:, 0], way[:, 1], solid_capstyle="round", **style)
    middle: Floats = way[len(way) // 2]
    return middle


def cap(axes: Axes, centre: Floats, degrees: float, colour: str) -> None:
    """Shade all points within an angle of a centre, where they face the reader."""
    first = np.cross(centre, [0.3, 0.9, 0.1])
    first /= np.linalg.norm(first)
    second, turns = np.cross(centre, first), np.linspace(0, 2 * np.pi, 181)[:, None]
    size = np.radians(degrees)
    rim = np.cos(size) * centre + np.sin(size) * (np.cos(turns) * first + np.sin(turns) * second)
    axes.fill(rim[:, 0], rim[:, 1], color=colour, alpha=0.13, linewidth=0, zorder=1)
    axes.plot(rim[:, 0], rim[:, 1], color=colour, linewidth=1, zorder=1)


def star(axes: Axes, place: Floats, colour: str, name: str, above: float = 0.1) -> None:
    """A prototype with its name."""
    axes.scatter(place[0], place[1], 190, marker="*", c="white", edgecolors=colour, linewidths=1.4, zorder=4)
    axes.text(
        place[0], place[1] + above, name, ha="center", va="center", fontsize=10, color=colour, bbox=HALO, zorder=3
    )


def dot(axes: Axes, place: Floats, name: str, colour: str = INK, shift: tuple[float, float] = (0.06, -0.09)) -> None:
    """An image with its name."""
    axes.scatter(place[0], place[1], 30, c=colour, zorder=5)
    axes.text(place[0] + shift[0], place[1] + shift[1], name, fontsize=9.5, color=colour, bbox=HALO, zorder=3)


def note(axes: Axes, place: Floats, text: str, colour: str = INK) -> None:
    """A number on an arc."""
    axes.text(place[0], place[1], text, ha="center", va="center", fontsize=9.5, color=colour, bbox=HALO, zorder=6)


def new_axes() -> tuple[Figure, Axes]:
    """One sphere."""
    figure, axes = plt.subplots(figsize=(5, 5))
    draw_sphere(axes)
    axes.set(xlim=(-1.06, 1.06), ylim=(-1.06, 1.06), aspect="equal")
    axes.axis("off")
    figure.subplots_adjust(0.01, 0.01, 0.99, 0.99)
    return figure, axes


def draw_nearest() -> Figure:
    """An image, its angles to three prototypes, and an image that is far from all."""
    figure, axes = new_axes()
    cat, ship, frog = point(-38, 32), point(48, 18), point(-8, -42)
    image, unknown = point(-20, 14), point(62, -42)
    for prototype, colour in ((cat, COLOURS[0]), (ship, COLOURS[1]), (frog, COLOURS[2])):
        nearest = prototype is cat
        style = {"color": colour, "linewidth": 2.2 if nearest else 1, "linestyle": "-" if nearest else (0, (3, 3))}
        note(axes, arc(axes, image, prototype, zorder=2, **style), f"{angle(image, prototype):.0f}°", colour)
    for prototype, colour, name in ((cat, COLOURS[0], "cat"), (ship, COLOURS[1], "ship"), (frog, COLOURS[2], "frog")):
        star(axes, prototype, colour, name, -0.11 if name == "frog" else 0.11)
    dot(axes, image, "an image", shift=(0.05, -0.1))
    dot(axes, unknown, "of no class", GREY, shift=(-0.16, -0.12))
    return figure


def draw_certified() -> Figure:
    """Caps of half the smallest angle between prototypes, an image inside one, and one between them."""
    figure, axes = new_axes()
    places = {"cat": point(-36, 16), "dog": point(20, 30), "ship": point(12, -44)}
    colours = dict(zip(places, COLOURS, strict=False))
    half = angle(places["cat"], places["dog"]) / 2
    for name, place in places.items():
        cap(axes, place, half, colours[name])
    way = {"color": INK, "linewidth": 1, "linestyle": (0, (3, 3)), "zorder": 2}
    note(axes, arc(axes, places["cat"], places["dog"], **way), f"{2 * half:.0f}°")
    for name, place in places.items():
        star(axes, place, colours[name], name, 0.11 if name != "ship" else -0.11)
    inside, between = point(-44, -2), point(-12, -20)
    arc(axes, inside, places["cat"], color=colours["cat"], linewidth=1.6, zorder=2)
    arc(axes, between, places["ship"], color=colours["ship"], linewidth=1.6, zorder=2)
    dot(axes, inside, f"{angle(inside, places['cat']):.0f}°: certified", shift=(-0.28, -0.12))
    dot(axes, between, f"{angle(between, places['ship']):.0f}°: not certified", GREY, shift=(0.05, 0.03))
    return figure


def main() -> None:
    """Draw both figures."""
    plt.switch_backend("agg")
    for name, figure in (("sphere", draw_nearest()), ("certified", draw_certified())):
        path = Path(__file__).with_name(f"{name}.png")
        figure.savefig(path, dpi=120, facecolor="white", metadata={"Software": None}, pil_kwargs={"optimize": True})


if __name__ == "__main__":
    main()
