"""``protozoo serve`` and ``protozoo bento``."""

from __future__ import annotations

import click


@click.command()
@click.argument("bundle")
@click.option("--port", default=3000, show_default=True, type=click.IntRange(1, 65535), help="TCP port.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 means all.")
@click.option(
    "--device",
    type=click.Choice(["cpu", "cuda"]),
    help="What the model runs on.  [default: PROTOZOO_DEVICE, else cpu]",
)
@click.option(
    "--max-body-mib",
    type=click.IntRange(min=1),
    help="Largest body of a request, in MiB.  [default: 20]",
    metavar="MIB",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Processes that answer, each with the model; on GPUs one on each.  [default: 1]",
)
def serve(bundle: str, port: int, host: str, device: str | None, max_body_mib: int | None, workers: int | None) -> None:
    """Serve BUNDLE over HTTP: /v1/classify, /v1/embed and /v1/model.

    BUNDLE is the folder of a bundle or a pretrained model of the zoo. Ctrl-C or SIGTERM ends the service after the
    requests under way. Other limits are environment variables, PROTOZOO_MAX_IMAGES for one.

    \b
    Example:
      protozoo serve ./my-bundle --port 3000
      curl -F image=@photo.jpg 'http://127.0.0.1:3000/v1/classify?k=5'
    """  # noqa: D301 - click wants the character
    from serving.launch import launch

    launch(bundle, host=host, port=port, device=device, workers=workers, max_body_mib=max_body_mib)


@click.command()
@click.argument("bundle")
@click.option("--name", help="Name of the Bento.  [default: the bundle's]")
@click.option(
    "--device", default="cpu", show_default=True, type=click.Choice(["cpu", "cuda"]), help="What the image is made for."
)
def bento(bundle: str, name: str | None, device: str) -> None:
    """Build a Bento of BUNDLE: the bundle, the code that serves it, and what that needs.

    BentoML's own commands go on from there, and need neither BUNDLE nor this package.

    \b
    Example:
      protozoo bento ./my-bundle --name my-bundle
      bentoml containerize my-bundle:TAG
    """  # noqa: D301
    from serving.bento import build_bento
    from zoo.bundle import Bundle, find

    tag = build_bento(Bundle.open(find(bundle)), device=device, name=name)
    click.echo(f"{tag}: built; bentoml serve {tag}, or bentoml containerize {tag}")
