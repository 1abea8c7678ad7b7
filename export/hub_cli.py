"""The commands ``push`` and ``pull``, which need no torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from export.hub import Visibility


@click.command()
@click.argument("bundle")
@click.argument("repository", metavar="OWNER/NAME")
@click.option("--revision", "branch", default="main", show_default=True, help="Branch; made where there is none.")
@click.option("--private", "visibility", flag_value="private", help="A new repository is for you alone.")
@click.option("--public", "visibility", flag_value="public", help="A new repository is for everybody; the default.")
@click.option("--message", default=None, help="Of the commit; by default the bundle's name.")
@click.option("--dry-run", is_flag=True, help="Show what would be sent and deleted, and end.")
def push(
    bundle: str, repository: str, branch: str, visibility: Visibility | None, message: str | None, dry_run: bool
) -> None:
    """Put BUNDLE (a folder, a zoo name or hf-hub:owner/name) on the Hugging Face Hub as OWNER/NAME, in one commit.

    Files that are there already are not sent, those of the bundle that was there before are deleted, and all others
    are left alone. What others push meanwhile is never overwritten. The token is that of `hf auth login` or HF_TOKEN.

    Example: protozoo push digits-bundle owner/digits --private --dry-run
    """
    from export.hub import carry_out, plan_push
    from zoo.bundle import Bundle, find
    from zoo.bundle.hub import repository_id

    repo = repository_id(repository)
    plan = plan_push(Bundle.open(find(bundle)), repo, branch=branch, visibility=visibility)
    click.echo("\n".join(plan.lines()))
    if dry_run:
        click.echo("dry run: nothing was sent")
        return
    pushed = carry_out(plan, message)
    if not plan.send and not plan.delete:
        click.echo("unchanged: nothing was sent")
    click.echo(f"{repo} ({pushed.visibility}) holds {plan.bundle.name} at commit {pushed.commit}")
    click.echo(f"load it as hf-hub:{repo}@{pushed.commit}")


@click.command()
@click.argument("spec", metavar="OWNER/NAME[@REVISION]")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the bundle; must not exist.")
def pull(spec: str, out: Path) -> None:
    """Copy a bundle of the Hugging Face Hub into a folder: whole, from one commit, with its digests compared.

    Example: protozoo pull owner/digits@main --out digits-bundle
    """
    from export.hub import pull_bundle

    bundle, commit = pull_bundle(spec, out)
    click.echo(f"{bundle.name} of commit {commit}: {len(bundle.labels)} classes, written to {out}")
