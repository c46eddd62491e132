"""The packages of the extra `serve`."""

from __future__ import annotations

from importlib.util import find_spec

from jointrain.errors import MissingDependencyError

_PACKAGES = {"fastapi": "fastapi", "uvicorn": "uvicorn", "prometheus_client": "prometheus-client"}


def check_extra() -> None:
    """Refuse to serve where a package for it is missing.

    Raises:
        MissingDependencyError: One of fastapi, uvicorn and prometheus-client is not installed.
    """
    for module, package in _PACKAGES.items():
        if find_spec(module) is None:
            raise MissingDependencyError(
                f"serving needs the package {package}; pip install 'jointrain[serve]'"
            )
