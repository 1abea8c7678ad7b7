"""Names of weights: the tag, ``<objective>_<dataset>``, behind an architecture's dot."""

from __future__ import annotations

import re
from pathlib import Path

import click

NAME = click.option(
    "--name",
    metavar="TAG",
    callback=lambda _, __, tag: None if tag is None else checked_tag(tag),
    help="Tag of the new weights; <objective>_<data> by default.",
)
"""The option of every command that makes weights."""


def checked_tag(tag: str) -> str:
    """The tag, where timm, a file system and the Hub take it.

    Raises:
        BadParameter: they would not: ``model.tag`` is a model's name, a folder's and a repository's.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]+", tag):
        raise click.BadParameter(f"{tag!r}: write a tag of letters, digits, underscores and hyphens")
    return tag


def tag_for(objective: str, data: str) -> str:
    """``<objective>_<dataset>`` of what a user types for data: a folder's name, a set's, a repository's."""
    name = Path(data.partition("@")[0]).expanduser().resolve().name
    return f"{objective}_{re.sub('[^a-z0-9]+', '_', name.lower()).strip('_') or 'data'}"


def trained_tag(recipe: str, objective: str, data: str) -> str:
    """The tag of what a recipe has trained.

    Args:
        recipe: what a user types for it: a file of their own names its weights. A recipe of the package does where it
            is named after what was trained on, such as nonl_cifar10 and a folder cifar10-jpeg; on other data, or with
            another objective, the name would say what is not so.
        objective: that was trained.
        data: what was typed for it.
    """
    stem, tag = re.sub("[^A-Za-z0-9_-]+", "_", Path(recipe).stem), tag_for(objective, data)
    if Path(recipe).is_file() or f"{tag}_".startswith(f"{stem}_"):
        return stem
    return tag
