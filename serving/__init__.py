"""The inference service: a bundle becomes HTTP. Needs neither torch nor timm.

Data flows one way: :mod:`serving.body` reads a request's images, :mod:`serving.decoder` turns bytes into pixels,
:mod:`serving.batcher` brings whatever waits to the one :mod:`serving.engine`, :mod:`serving.prototypes` turns cosines
into an answer. :mod:`serving.app` is the HTTP around it, :mod:`serving.service` the BentoML shell that owns processes,
health and packaging.
"""
