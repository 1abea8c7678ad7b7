"""A planned push, carried out as one commit."""

from __future__ import annotations

from dataclasses import dataclass

from export.hub.access import explained, writing_api
from export.hub.plan import Plan, Remote, Visibility, differing, digests, plan_push
from zoo.errors import BundleError


@dataclass(frozen=True)
class Pushed:
    """Where a bundle is now.

    Attributes:
        commit: holds the bundle; an old one where it was there already.
        visibility: who may see it. An organisation may make all that is new private, also what was to be public.
    """

    commit: str
    visibility: Visibility


def carry_out(plan: Plan, message: str | None = None) -> Pushed:
    """Do what a plan says, in one commit.

    The repository and the branch are made where they do not exist. Large files are uploaded first, which nobody sees,
    and those that arrived before a push broke off are not sent again. Then one commit adds, replaces and deletes, on
    top of the commit that was looked at: where another has come on top of that, the Hub refuses ours. At the end the
    digests that the Hub has of the commit's files are compared with the bundle's.

    Args:
        plan: of :func:`export.hub.plan_push`.
        message: of the commit.

    Raises:
        BundleError: no access, the connection breaks, or the branch was changed since: the branch is as it was, unless
            the Hub's answer to the commit was lost, which the next push finds. Or the commit lacks a file.
    """
    plan, remote = _with_repository(plan)
    if not remote.branch_exists:
        with explained(plan.where):
            writing_api().create_branch(plan.repo, branch=plan.branch, revision=remote.commit)
    if not plan.send and not plan.delete:
        return Pushed(remote.commit, remote.visibility)
    commit = _commit(plan, remote, message or f"Push {plan.bundle.name}")
    _check_arrived(plan, commit)
    return Pushed(commit, remote.visibility)


def _with_repository(plan: Plan) -> tuple[Plan, Remote]:
    """The plan against a repository that exists, made if need be: the Hub puts a first commit into it."""
    if plan.remote is not None:
        return plan, plan.remote
    with explained(plan.where):
        writing_api().create_repo(plan.repo, private=plan.visibility == "private")
    wanted: Visibility | None = "private" if plan.visibility == "private" else None
    made = plan_push(plan.bundle, plan.repo, branch=plan.branch, visibility=wanted)
    if made.remote is None:
        raise BundleError(f"{plan.repo} was made, but the Hub does not show it yet: push again")
    return made, made.remote


def _commit(plan: Plan, remote: Remote, message: str) -> str:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    operations: list[CommitOperationAdd | CommitOperationDelete] = [
        *(CommitOperationAdd(name, plan.bundle.path / name) for name in plan.send),
        *(CommitOperationDelete(name) for name in plan.delete),
    ]
    with explained(plan.where):
        made = writing_api().create_commit(
            plan.repo, operations, commit_message=message, revision=plan.branch, parent_commit=remote.commit
        )
    return str(made.oid)


def _check_arrived(plan: Plan, commit: str) -> None:
    with explained(plan.where):
        info = writing_api().model_info(plan.repo, revision=commit, files_metadata=True)
    if wrong := differing(plan.bundle, digests(info)):
        raise BundleError(
            f"commit {commit} of {plan.repo} was made, but does not hold {', '.join(wrong)} as the bundle does: see "
            "whether a .gitignore there leaves them out, and push again"
        )
