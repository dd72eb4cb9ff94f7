from __future__ import annotations

import socket
import sys

import pytest

from benchmark.errors import DataError
from benchmark.training.process.offline import forbidden_network


def test_other_hosts_are_out_of_reach_and_this_one_is_not():
    with socket.create_server(("127.0.0.1", 0)) as server, forbidden_network():
        socket.create_connection(server.getsockname(), timeout=5).close()
        with pytest.raises(DataError, match="downloads are made by `bench prepare` only"):
            socket.create_connection(("192.0.2.1", 80), timeout=5)
        with pytest.raises(DataError, match=r"example\.org is not asked"):
            socket.getaddrinfo("example.org", 443)


def test_it_ends_with_its_block():
    with forbidden_network(), pytest.raises(DataError):
        sys.audit("socket.connect", None, ("192.0.2.1", 80))
    sys.audit("socket.connect", None, ("192.0.2.1", 80))
