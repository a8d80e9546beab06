"""Connect's protocol with JSON over HTTP/1.1: unary calls, and streams of a server (connectrpc.com/docs/protocol)."""

from __future__ import annotations

import http.client
import json
import math
import random
import ssl
import struct
import time
from typing import Any, Dict, Iterator, Optional, Tuple
from urllib.parse import urlsplit

from .errors import CODES, Disconnected, SkeinError

SERVICE = "/skein.inference.v1.InferenceService/"
MAX_MESSAGE = 256 << 20  # bytes of one message of an answer
MAX_WAIT = 30.0  # seconds between two tries; a longer Retry-After is an error at once
CHUNK = 64 << 10  # bytes read at once

_COMPRESSED = 1
_END = 2


class Transport:
    """Calls one cluster with one key. Each call has a connection of its own, so that threads may share it."""

    def __init__(self, url: str, key: str, timeout: float, retries: int, context: Optional[ssl.SSLContext]):
        u = urlsplit(url)
        if u.scheme not in ("http", "https") or not u.hostname:
            raise ValueError(f"{url!r} is no URL: want http://HOST:PORT or https://HOST:PORT")
        if not key:
            raise ValueError("no key")
        self._u, self._key, self._timeout, self._retries, self._context = u, key, timeout, retries, context

    def unary(self, method: str, message: Dict[str, Any]) -> Dict[str, Any]:
        """One question, one answer."""
        conn, res = self._retried(method, json.dumps(message).encode(), "application/json")
        try:
            body = _read(res, MAX_MESSAGE)
            got = json.loads(body)
        except ValueError as e:
            raise Disconnected(f"the answer is no JSON: {e}") from e
        finally:
            conn.close()
        return got

    def stream(self, method: str, message: Dict[str, Any]) -> Iterator[Dict[str, Any]]:
        """One question, an answer in pieces. Whoever stops iterating closes the generator, which ends the call at the cluster too."""
        body = json.dumps(message).encode()
        conn, res = self._retried(method, struct.pack(">BI", 0, len(body)) + body, "application/connect+json")
        try:
            while True:
                flags, size = struct.unpack(">BI", _exactly(res, 5))
                if size > MAX_MESSAGE:
                    raise Disconnected(f"a message of {size} bytes is over the limit of {MAX_MESSAGE}")
                if flags & _COMPRESSED:
                    raise Disconnected("a message is compressed, which was not asked for")
                got = json.loads(_exactly(res, size) or b"{}")
                if flags & _END:
                    if got.get("error"):
                        raise _told(got["error"], 200, res)
                    return
                yield got
        except ValueError as e:
            raise Disconnected(f"a message is no JSON: {e}") from e
        finally:
            conn.close()

    def _retried(self, method: str, body: bytes, kind: str) -> Tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        """Tries again what was refused for now (429, 503), and what found nobody: never what may have been answered."""
        for attempt in range(self._retries + 1):
            try:
                return self._once(method, body, kind)
            except SkeinError as e:
                again = e.status in (429, 503) or isinstance(e, _Unreached)
                wait = min(MAX_WAIT, 0.25 * 2**attempt) * (0.5 + random.random() / 2)
                if e.retry_after is not None:
                    wait = e.retry_after
                if not again or attempt == self._retries or wait > MAX_WAIT:
                    raise
            time.sleep(wait)
        raise AssertionError("not reached")

    def _once(self, method: str, body: bytes, kind: str) -> Tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        host, port = self._u.hostname or "", self._u.port
        conn: http.client.HTTPConnection
        if self._u.scheme == "https":
            conn = http.client.HTTPSConnection(host, port, timeout=self._timeout, context=self._context)
        else:
            conn = http.client.HTTPConnection(host, port, timeout=self._timeout)
        try:
            conn.connect()
        except OSError as e:
            conn.close()
            raise _Unreached(f"{self._u.netloc}: {e}") from e
        headers = {"Content-Type": kind, "Authorization": "Bearer " + self._key, "Connect-Protocol-Version": "1", "User-Agent": "skein-python/0.1.0"}
        try:
            conn.request("POST", self._u.path.rstrip("/") + SERVICE + method, body=body, headers=headers)
            res = conn.getresponse()
            if res.status == 200:
                return conn, res
            text = _read(res, 1 << 20)
        except (OSError, http.client.HTTPException) as e:
            conn.close()
            raise Disconnected(f"{self._u.netloc}: {e or type(e).__name__}") from e
        except SkeinError:
            conn.close()
            raise
        conn.close()
        try:
            error = json.loads(text)
        except ValueError:
            error = None
        if not isinstance(error, dict):
            error = {"message": text[:500].decode(errors="replace") or res.reason}
        raise _told(error, res.status, res)


class _Unreached(Disconnected):
    """Nothing was sent."""


def _told(error: Dict[str, Any], status: int, res: http.client.HTTPResponse) -> SkeinError:
    """The error that a body, or the end of a stream, tells."""
    after: Optional[float] = None
    try:
        after = float(res.headers.get("Retry-After", ""))
    except ValueError:
        pass  # none, or a date
    if after is not None and not (math.isfinite(after) and after >= 0):
        after = None
    code = error.get("code") or CODES.get(status, "unknown")
    return SkeinError(str(code), str(error.get("message", "")), status, res.headers.get("X-Request-Id", ""), after)


def _read(res: http.client.HTTPResponse, most: int) -> bytes:
    try:
        body = res.read(most + 1)
    except (OSError, http.client.HTTPException) as e:
        raise Disconnected(f"the answer ended early: {e or type(e).__name__}") from e
    if len(body) > most:
        raise Disconnected(f"the answer is over the limit of {most} bytes")
    return body


def _exactly(res: http.client.HTTPResponse, size: int) -> bytes:
    out = bytearray()
    while len(out) < size:
        try:
            more = res.read(min(CHUNK, size - len(out)))
        except (OSError, http.client.HTTPException) as e:
            raise Disconnected(f"the stream ended early: {e or type(e).__name__}") from e
        if not more:
            raise Disconnected("the stream ended early")
        out += more
    return bytes(out)
