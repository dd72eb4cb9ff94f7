from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from benchmark.catalog.keras_applications import PUBLISHED, PublishedWeights
from benchmark.errors import DataError
from benchmark.training.weights.imagenet import fetch, verified_content


def test_missing_imagenet_weights_name_address_digest_and_place_and_nothing_is_downloaded(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    with pytest.raises(DataError) as caught:
        verified_content("vgg16")
    message = str(caught.value)
    assert PUBLISHED["vgg16"].url in message
    assert PUBLISHED["vgg16"].digest in message
    assert str(tmp_path / "models" / "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5") in message
    assert "bench prepare" in message


def test_a_damaged_cache_file_is_said_and_stays(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    path = PUBLISHED["vgg16"].path
    path.parent.mkdir()
    path.write_bytes(b"half a download")
    with pytest.raises(DataError, match=f"expected md5 {PUBLISHED['vgg16'].digest}"):
        verified_content("vgg16")
    assert path.exists()


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server on this machine in the place of the published address; gives its folder."""
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "w.h5").write_bytes(b"weights")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as one:
        thread = Thread(target=one.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{one.server_port}/w.h5"
        monkeypatch.setitem(PUBLISHED, "vgg16", PublishedWeights(url, hashlib.md5(b"weights").hexdigest()))
        monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
        yield folder
        one.shutdown()
        thread.join()


def test_weights_are_fetched_once_and_verified(server):
    path = fetch("vgg16")
    assert path.read_bytes() == b"weights"
    (server / "w.h5").unlink()
    assert fetch("vgg16") == path
    assert verified_content("vgg16") == b"weights"


def test_a_file_with_another_digest_is_thrown_away(server):
    (server / "w.h5").write_bytes(b"something else")
    with pytest.raises(DataError, match="expected"):
        fetch("vgg16")
    assert not list(PUBLISHED["vgg16"].path.parent.iterdir())


def test_a_failed_download_says_what_to_put_where(server):
    (server / "w.h5").unlink()
    with pytest.raises(DataError, match=f"md5 {PUBLISHED['vgg16'].digest}"):
        fetch("vgg16")


def test_the_program_of_bench_prepare_tells_missing_weights(tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "benchmark.training.programs.prepare",
            json.dumps({"imagenet": "resnet50", "offline": True}),
        ],
        capture_output=True,
        check=False,
        env={**os.environ, "KERAS_HOME": str(tmp_path), "PYTHONPATH": str(Path(__file__).parent.parent)},
    )
    assert done.returncode == 3
    assert PUBLISHED["resnet50"].digest in json.loads(done.stdout)["error"]
