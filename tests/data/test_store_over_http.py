"""A store behind a web server is read like one on a disk, whether or not the server lists its folders."""

import contextlib
import functools
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from calibrant.data import StoredPredictions, write_store
from calibrant.errors import StoreError
from calibrant.testing import toy_predictions

pytest.importorskip("aiohttp")


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


class Unlisted(Quiet):
    def list_directory(self, _):
        self.send_error(404)


@contextlib.contextmanager
def served(folder, handler):
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("handler", [Quiet, Unlisted])
def test_a_store_is_read_over_http(tmp_path, handler):
    written = write_store(toy_predictions(), tmp_path / "store")
    with served(tmp_path, handler) as address:
        stored = StoredPredictions(f"{address}/store")
        assert stored.keys == written.keys
        for here, there in zip(written, stored, strict=True):
            assert torch.equal(here.logits, there.logits)
            assert torch.equal(here.labels, there.labels)


@pytest.mark.parametrize("handler", [Quiet, Unlisted])
def test_an_address_without_a_store_is_told(tmp_path, handler):
    (tmp_path / "else").mkdir()
    (tmp_path / "file.txt").write_text("words")
    with served(tmp_path, handler) as address:
        for name in ("else", "nowhere", "file.txt"):
            with pytest.raises(StoreError, match=f"{name}: expected"):
                StoredPredictions(f"{address}/{name}")
