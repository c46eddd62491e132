"""Serving: the model of a bundle that answers requests over HTTP."""

from jointrain.serving._extra import check_extra
from jointrain.serving._limits import TOKEN_VARIABLE, Limits, token_of_environment
from jointrain.serving._listening import address_of, bound_socket
from jointrain.serving._service import TableService
from jointrain.serving._starting import make_app, run_server

__all__ = [
    "TOKEN_VARIABLE",
    "Limits",
    "TableService",
    "address_of",
    "bound_socket",
    "check_extra",
    "make_app",
    "run_server",
    "token_of_environment",
]
