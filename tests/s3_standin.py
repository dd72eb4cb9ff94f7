"""Fixture: a server on this computer that stands in for S3; conftest.py has it for all."""

from __future__ import annotations

import logging

import pytest


@pytest.fixture(scope="session")
def s3_server():
    """A stand-in for S3 on this computer."""
    pytest.importorskip("s3fs", reason="needs s3fs: pip install 'benchmark-matrix[s3]'")
    server = pytest.importorskip("moto.server", reason="needs moto: pip install 'moto[server]'")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "tester",
        "AWS_SECRET_ACCESS_KEY": "never-shown",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    running.stop()
