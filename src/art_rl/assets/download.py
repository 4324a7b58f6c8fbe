"""One HTTP transfer that can be continued: pooch does the streaming, this adds the byte ranges.

A partial file ``x.part`` has ``x.part.json`` beside it with the version the server named when it sent
the first byte (ETag, else Last-Modified).  A range is asked for only under that version (If-Range),
so bytes of two versions are never joined; servers without ranges or versions start again from 0.
"""

from pathlib import Path

import pooch
import requests
from tqdm import tqdm

from art_rl.errors import ArtRLError
from art_rl.files import read_json, write_json


class Unusable(Exception):
    """This source cannot give the file; go on to the next one."""


class Interrupted(Exception):
    """A transfer broke off or a server is in trouble; trying again may help."""


def _validator(state: Path) -> str | None:
    """The version the server named, None if that is not known (the transfer then starts anew)."""
    try:
        value = read_json(state)
    except ArtRLError:
        return None
    validator = value.get("validator") if isinstance(value, dict) else None
    return validator if isinstance(validator, str) else None


def download(url: str, part: Path, progress: bool, timeout: float) -> None:
    """Continue ``part`` from ``url`` with one HTTP request.

    A byte range is asked for only if the server named the version it sent before (ETag or
    Last-Modified), so bytes of two versions are never joined.
    """
    state = part.with_name(part.name + ".json")
    validator = _validator(state) if part.exists() else None
    with open(part, "ab") as file:
        if validator is None:
            file.truncate(0)
        offset = file.tell()
        headers = {"Accept-Encoding": "identity"}  # or a server may unpack .gz on the way
        if offset and validator is not None:
            headers |= {"Range": f"bytes={offset}-", "If-Range": validator}

        def inspect(response: requests.Response, **_: object) -> None:
            status = response.status_code
            if status == 206:
                if not response.headers.get("Content-Range", "").startswith(f"bytes {offset}-"):
                    file.truncate(0)
                    raise Interrupted("the server answered with another range than asked for")
            elif status == 200:
                file.truncate(0)
                etag = response.headers.get("ETag", "")
                strong = etag if etag and not etag.startswith("W/") else None
                version = strong or response.headers.get("Last-Modified")
                write_json(state, {"url": url, "validator": version})
                if not {"Content-Length", "Transfer-Encoding"} & set(response.headers):
                    raise Unusable("the server does not state a length, so a cut goes unseen")
            elif status == 416:
                file.truncate(0)
                raise Interrupted("HTTP 416")
            elif status in (408, 429) or status >= 500:
                raise Interrupted(f"HTTP {status}")
            elif status >= 400:
                raise Unusable(f"HTTP {status}")

        # pooch sets the total and the increments itself; a bar with total None has no truth value.
        bar = progress and tqdm(
            total=1, unit="B", unit_scale=True, desc=url.rsplit("/", 1)[-1], leave=False
        )
        downloader = pooch.HTTPDownloader(
            progressbar=bar,
            chunk_size=1 << 16,
            timeout=timeout,
            headers=headers,
            hooks={"response": inspect},
        )
        try:
            downloader(url=url, output_file=file, pooch=None)
        except requests.RequestException as error:
            raise Interrupted(f"{type(error).__name__}: {error}") from None
        finally:
            if bar is not False:
                bar.close()
