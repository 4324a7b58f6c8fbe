"""Fetching against a local server that fails, truncates, stalls and lies."""

import gzip
import hashlib
import re
import socket
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from art_rl.assets import fetch
from art_rl.assets.fetch import Asset, catalogue, fetch_asset, find_asset
from art_rl.errors import ArtRLError
from art_rl.files import read_json

CONTENT = np.random.default_rng(0).bytes(200_000)
WRONG = np.random.default_rng(1).bytes(200_000)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Server:
    """Serves CONTENT; ``script`` holds one behaviour per request, the last one repeats.

    ok, range (honours Range), 500, 404, cut (half, then closes), no_length, stall, lie,
    wrong_range (206 with other bytes), changed (range, but a new ETag and other content).
    """

    def __init__(self):
        self.script, self.requests = ["ok"], []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def do_GET(self):
                outer.requests.append((self.path, self.headers.get("Range")))
                step = outer.script.pop(0) if len(outer.script) > 1 else outer.script[0]
                outer.answer(self, step)

        self.httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.httpd.daemon_threads = True
        self.base = f"http://127.0.0.1:{self.httpd.server_port}/"
        threading.Thread(target=self.httpd.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, handler, step):
        body, status, headers = CONTENT, 200, {"ETag": '"v1"'}
        if step in ("500", "404"):
            body, status = b"no", int(step)
        elif step == "lie":
            body = WRONG
        elif step == "changed":
            body, headers = WRONG, {"ETag": '"v2"'}
        wanted = handler.headers.get("Range")
        if wanted and step in ("range", "wrong_range", "changed"):
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])
            if handler.headers.get("If-Range") == headers["ETag"]:
                start += 7 if step == "wrong_range" else 0
                headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
                body, status = body[start:], 206
        handler.send_response(status)
        for key, value in headers.items():
            handler.send_header(key, value)
        if step != "no_length":
            handler.send_header("Content-Length", str(len(body)))
        handler.send_header("Connection", "close")
        handler.end_headers()
        if step in ("cut", "no_length", "stall"):
            body = body[: len(body) // 2]
        handler.wfile.write(body)
        handler.wfile.flush()
        if step == "stall":
            time.sleep(1.0)
        handler.close_connection = True


@pytest.fixture
def server():
    server = Server()
    yield server
    server.httpd.shutdown()
    server.httpd.server_close()


@pytest.fixture
def asset(server):
    return Asset("thing", "group", "thing.bin", (server.base + "a/thing.bin",), sha256(CONTENT))


@pytest.fixture(autouse=True)
def no_mirror(monkeypatch):
    monkeypatch.delenv("ART_RL_MIRROR", raising=False)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(fetch, "TIMEOUT", 0.3)
    monkeypatch.setattr(fetch, "PAUSE", 0.0)
    monkeypatch.setattr(fetch, "FURTHER_ATTEMPTS", 3)


def get(asset, path, **options):
    return fetch_asset(asset, path, **{"progress": False, **options})


def leftovers(folder):
    return sorted(p.name for p in folder.iterdir() if not p.name.endswith(".guard"))


def test_plain_fetch_then_kept(server, asset, tmp_path):
    path = tmp_path / "deep" / "thing.bin"
    assert get(asset, path, progress=True) == path
    assert path.read_bytes() == CONTENT
    assert get(asset, path) == path
    assert len(server.requests) == 1  # the second call only checked the digest
    assert leftovers(path.parent) == ["thing.bin"]


def test_server_errors_are_retried(server, asset, tmp_path):
    server.script = ["500", "500", "ok"]
    assert get(asset, tmp_path / "f").read_bytes() == CONTENT
    assert len(server.requests) == 3


def test_persistent_server_error(server, asset, tmp_path):
    server.script = ["500"]
    with pytest.raises(ArtRLError, match=r"gave up after 4 attempts, last: HTTP 500"):
        get(asset, tmp_path / "f")
    assert leftovers(tmp_path) == []


def test_missing_file_is_not_retried(server, asset, tmp_path):
    server.script = ["404", "ok"]
    two = replace(asset, urls=(server.base + "a/thing.bin", server.base + "b/thing.bin"))
    assert get(two, tmp_path / "f").read_bytes() == CONTENT
    assert [path for path, _ in server.requests] == ["/a/thing.bin", "/b/thing.bin"]


@pytest.mark.parametrize("fault", ["cut", "stall"])
def test_broken_transfer_is_resumed(server, asset, tmp_path, fault):
    server.script = [fault, "range"]
    assert get(asset, tmp_path / "f").read_bytes() == CONTENT
    start = int(server.requests[1][1].removeprefix("bytes=").rstrip("-"))
    assert 0 < start <= len(CONTENT) // 2
    assert leftovers(tmp_path) == ["f"]


def test_broken_transfer_without_range_support_starts_again(server, asset, tmp_path):
    server.script = ["cut", "ok"]
    assert get(asset, tmp_path / "f").read_bytes() == CONTENT


def test_next_call_continues_what_a_killed_one_left(server, asset, tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "FURTHER_ATTEMPTS", 0)
    server.script = ["cut", "range"]
    with pytest.raises(ArtRLError):
        get(asset, tmp_path / "f")
    assert not (tmp_path / "f").exists()
    monkeypatch.setattr(fetch, "FURTHER_ATTEMPTS", 3)
    assert get(asset, tmp_path / "f").read_bytes() == CONTENT
    assert server.requests[1][1] is not None


def test_damaged_partial_file_is_thrown_away(server, asset, tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "FURTHER_ATTEMPTS", 0)
    server.script = ["cut", "range", "ok"]
    with pytest.raises(ArtRLError):
        get(asset, tmp_path / "f")
    part = next(tmp_path.glob(".f.*.part"))
    part.write_bytes(WRONG[: part.stat().st_size])
    monkeypatch.setattr(fetch, "FURTHER_ATTEMPTS", 3)
    assert get(asset, tmp_path / "f").read_bytes() == CONTENT


def test_wrong_range_and_changed_file(server, asset, tmp_path):
    server.script = ["cut", "wrong_range", "ok"]
    assert get(asset, tmp_path / "f").read_bytes() == CONTENT
    server.script = ["cut", "changed"]
    with pytest.raises(ArtRLError, match=sha256(WRONG)):
        get(asset, tmp_path / "g")
    assert not (tmp_path / "g").exists()


def test_lie_names_both_digests_and_leaves_nothing(server, asset, tmp_path):
    server.script = ["lie"]
    with pytest.raises(ArtRLError) as caught:
        get(asset, tmp_path / "f")
    message = str(caught.value)
    assert sha256(WRONG) in message and sha256(CONTENT) in message
    assert "\n" not in message and "ART_RL_MIRROR" in message
    assert leftovers(tmp_path) == []


def test_unstated_length_is_refused(server, asset, tmp_path):
    server.script = ["no_length"]
    with pytest.raises(ArtRLError, match="does not state a length"):
        get(replace(asset, sha256=None), tmp_path / "f")


def test_unreachable_server(tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "FURTHER_ATTEMPTS", 1)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/x"
        with pytest.raises(ArtRLError, match="ConnectionError"):
            get(Asset("x", "g", "x", (url,), sha256(b"")), tmp_path / "f")


def test_mirror_directory_comes_first(server, asset, tmp_path, monkeypatch):
    mirror = tmp_path / "mirror"
    (mirror / "group").mkdir(parents=True)
    (mirror / "group" / "thing.bin").write_bytes(CONTENT)
    assert get(asset, tmp_path / "f", mirror=mirror).read_bytes() == CONTENT
    assert get(asset, tmp_path / "g", mirror=mirror / "group").read_bytes() == CONTENT
    monkeypatch.setenv("ART_RL_MIRROR", f"file://{mirror}")
    assert get(asset, tmp_path / "h").read_bytes() == CONTENT
    assert server.requests == []


def test_mirror_url_and_fall_back(server, asset, tmp_path):
    server.script = ["404", "ok"]
    assert get(asset, tmp_path / "f", mirror=server.base + "m/").read_bytes() == CONTENT
    assert [path for path, _ in server.requests] == ["/m/group/thing.bin", "/m/thing.bin"]
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "thing.bin").write_bytes(WRONG)
    assert get(asset, tmp_path / "g", mirror=bad).read_bytes() == CONTENT
    server.script = ["404"]
    with pytest.raises(ArtRLError, match=rf"bad/thing\.bin: SHA-256 is {sha256(WRONG)}"):
        get(asset, tmp_path / "h", mirror=bad)
    assert not (tmp_path / "h").exists()


def test_wrong_file_already_there(server, asset, tmp_path):
    (tmp_path / "f").write_bytes(WRONG)
    with pytest.raises(ArtRLError, match=r"delete it to fetch again") as caught:
        get(asset, tmp_path / "f")
    assert sha256(WRONG) in str(caught.value) and sha256(CONTENT) in str(caught.value)
    with pytest.raises(ArtRLError, match="is a directory"):
        get(asset, tmp_path)


def test_recompressed_gzip_is_accepted_by_content(tmp_path):
    one, two = gzip.compress(CONTENT, 1, mtime=1), gzip.compress(CONTENT, 9, mtime=2)
    assert one != two
    asset = Asset("z", "g", "z.gz", (), sha256(one), sha256(CONTENT))
    mirror = tmp_path / "m"
    mirror.mkdir()
    for index, good in enumerate((one, two)):
        (mirror / "z.gz").write_bytes(good)
        assert get(asset, tmp_path / f"{index}.gz", mirror=mirror).read_bytes() == good
    for index, (bad, phrase) in enumerate(
        [(two[:-20], "not an intact gzip"), (gzip.compress(WRONG), f"content {sha256(WRONG)}")]
    ):
        (mirror / "z.gz").write_bytes(bad)
        with pytest.raises(ArtRLError, match=phrase) as caught:
            get(asset, tmp_path / f"bad{index}.gz", mirror=mirror)
        assert sha256(CONTENT) in str(caught.value) and sha256(bad) in str(caught.value)
        assert not (tmp_path / f"bad{index}.gz").exists()


def test_trust_on_first_use(server, asset, tmp_path):
    unknown = replace(asset, sha256=None)
    lock = tmp_path / "locks" / "assets.lock.json"
    with pytest.warns(UserWarning, match="trusted on first use"):
        get(unknown, tmp_path / "f", lock=lock)
    entry = read_json(lock)["thing"]
    assert entry["sha256"] == sha256(CONTENT) and entry["size"] == len(CONTENT)
    get(unknown, tmp_path / "g", lock=lock)  # agrees: no warning, no change
    server.script = ["lie"]
    with pytest.raises(ArtRLError, match=f"{sha256(WRONG)}, expected {sha256(CONTENT)}"):
        get(unknown, tmp_path / "h", lock=lock)
    assert not (tmp_path / "h").exists()


def test_catalogue():
    assets = catalogue()
    for name, entry in assets.items():
        assert entry.name == name and entry.urls and entry.licence and entry.citation
        assert len({url.rsplit("/", 1)[1] for url in entry.urls} | {entry.file}) == 1
        for value in (entry.sha256, entry.sha256_content):
            assert value is None or re.fullmatch("[0-9a-f]{64}", value)
        assert (entry.sha256_content is not None) == entry.file.endswith(".gz")
    assert sum(name.startswith("edm-") for name in assets) == 9
    with pytest.raises(ArtRLError, match=r"unknown asset 'minst'; known: mnist-train-images"):
        find_asset("minst")


def test_real_mnist_mirror(test_data, tmp_path):
    mirror = test_data("mirror")
    for name in ("mnist-train-images", "mnist-test-labels"):
        path = fetch_asset(find_asset(name), tmp_path / name, mirror=mirror, progress=False)
        assert path.is_file()
    (tmp_path / "mnist-test-labels").write_bytes(b"x")
    with pytest.raises(ArtRLError, match="f7ae60f92e00"):
        fetch_asset(find_asset("mnist-test-labels"), tmp_path / "mnist-test-labels")


@pytest.mark.parametrize("content", ["[]", "null", '{"f": 3}', '{"f": {}}'])
def test_a_lock_file_without_digests_is_one_line(tmp_path, content):
    (tmp_path / "assets.lock.json").write_text(content)
    asset = Asset("f", "g", "f", ())
    (tmp_path / "f").write_bytes(b"x")
    with pytest.raises(ArtRLError, match=r"assets\.lock\.json: must hold an object with 'sha256'"):
        fetch_asset(asset, tmp_path / "f")


def test_nothing_but_the_file_and_its_lock_is_left(tmp_path):
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror/f").write_bytes(CONTENT)
    here = tmp_path / "here"
    here.mkdir()
    for name in (".f.12345678.part", ".f.12345678.part.json", ".f.87654321.part", ".other.1.part"):
        (here / name).write_bytes(b"a kill, or another address")
    asset = Asset("f", "g", "f", ())
    with pytest.warns(UserWarning, match="trusted on first use"):
        fetch_asset(asset, here / "f", mirror=tmp_path / "mirror")
    left = [".other.1.part", "assets.lock.json", "f"]
    assert sorted(path.name for path in here.iterdir()) == left
    (here / ".f.12345678.part.json").write_bytes(b"a kill")
    fetch_asset(asset, here / "f")
    assert sorted(path.name for path in here.iterdir()) == left
