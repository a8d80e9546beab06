"""A server of HTTP that fails as it is told: it injects faults under the client, and knows nothing of what is asked."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from typing import Any, Callable, Dict, List, Optional

Act = Callable[[socket.socket], None]


class Faulty:
    """Answers the n-th connection by the n-th act, the last one again and again. asked holds the requests as they came, at when."""

    def __init__(self, *acts: Act, listening: bool = True):
        self._acts = acts
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))  # until it listens, connections are refused, and nobody else has the port
        self.url = "http://127.0.0.1:%d" % self._socket.getsockname()[1]
        self.asked: List[bytes] = []
        self.at: List[float] = []
        if listening:
            self.listen()

    def listen(self) -> None:
        self._socket.listen(16)
        threading.Thread(target=self._serve, daemon=True).start()

    def __enter__(self) -> "Faulty":
        return self

    def __exit__(self, *_: Any) -> None:
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                conn, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(conn,), daemon=True).start()

    def _answer(self, conn: socket.socket) -> None:
        with conn:
            request = _request(conn)
            if request is None:
                return
            self.asked.append(request)
            self.at.append(time.monotonic())
            self._acts[min(len(self.asked), len(self._acts)) - 1](conn)


def _request(conn: socket.socket) -> Optional[bytes]:
    got = b""
    while True:
        head, found, body = got.partition(b"\r\n\r\n")
        if found:
            size = next((int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
            if len(body) >= size:
                return got
        more = conn.recv(65536)
        if not more:
            return None
        got += more


def answer(status: int, body: bytes = b"", *, length: Optional[int] = None, **headers: str) -> Act:
    """Answers with a status, a body, and headers: retry_after="1" is Retry-After: 1. length is what it says the body's length is."""
    lines = ["HTTP/1.1 %d Told" % status, "Content-Length: %d" % (len(body) if length is None else length), "Connection: close"]
    lines += ["%s: %s" % (k.replace("_", "-"), v) for k, v in headers.items()]
    return lambda conn: conn.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)


def models(*names: str) -> Act:
    """Answers ListModels."""
    return answer(200, json.dumps({"models": [{"name": n} for n in names]}).encode(), content_type="application/json")


def refusal(code: str) -> bytes:
    return json.dumps({"code": code, "message": "no"}).encode()


def pieces(*texts: str, end: Optional[Dict[str, Any]] = None, hold: Optional[threading.Event] = None) -> Act:
    """Answers a stream, without its end if there is none. hold is set when the client has hung up."""

    def frame(flags: int, v: Dict[str, Any]) -> bytes:
        b = json.dumps(v).encode()
        return struct.pack(">BI", flags, len(b)) + b

    def act(conn: socket.socket) -> None:
        conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/connect+json\r\nConnection: close\r\n\r\n")
        for text in texts:
            conn.sendall(frame(0, {"text": text}))
        if end is not None:
            conn.sendall(frame(2, end))
        if hold is not None:
            try:
                while conn.recv(1):
                    pass
            except OSError:
                pass
            hold.set()

    return act


def hang_up(_: socket.socket) -> None:
    """Ends the connection once the request is read."""


def reset(conn: socket.socket) -> None:
    """Ends the connection by a reset."""
    conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
