"""The distribution's name as a package: the client and the zoo, in a process that has loaded neither."""

from __future__ import annotations

import subprocess
import sys

import pytest

import serving.client
import zoo


def test_importing_it_loads_nothing_and_each_name_only_what_it_needs(tmp_path):
    code = (
        "import sys, protozoo\n"
        "print({'torch', 'timm', 'httpx', 'numpy'} & set(sys.modules))\n"
        "from protozoo import AsyncClient, Client\n"
        "print({'torch', 'timm', 'bentoml'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout == "set()\nset()\n"


def test_its_names_are_those_of_client_and_zoo():
    import protozoo

    assert protozoo.Client is serving.client.Client
    assert protozoo.AsyncClient is serving.client.AsyncClient
    assert protozoo.ServiceError is serving.client.ServiceError
    assert all(getattr(protozoo, name) is getattr(zoo, name) for name in zoo.__all__)
    assert {"Client", "load", *zoo.__all__} <= set(dir(protozoo))


def test_a_name_that_it_has_not_is_an_error():
    import protozoo

    with pytest.raises(AttributeError, match="Klient"):
        protozoo.Klient  # noqa: B018
