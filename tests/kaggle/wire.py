"""HTTP as `emulator` needs it: small servers on the loopback interface that can also break off an answer.

A server reads a `Request`, asks for the `Reply` and sends that as it says: whole, in pieces, in part, or not at all.
"""

import json
import socket
import socketserver
import struct
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl, unquote, urlsplit

PATIENCE = 30  # seconds after which an idle connection ends in any case
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing is a reset
PAGE = b"<!DOCTYPE html>\n<html><head><title>Kaggle</title></head><body>Something went wrong.</body></html>\n"
NAMES = {401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED"}


@dataclass(frozen=True)
class Request:
    """What a client asks of the server with this role."""

    role: str
    verb: str
    path: str
    query: Mapping[str, str]
    headers: Message
    body: bytes


@dataclass
class Reply:
    """What a client gets. `body` is announced as it is, but sent only up to `cut`; then comes the `end`."""

    status: int | None  # None: not even a status line
    body: bytes = b""
    headers: list[tuple[str, str]] = field(default_factory=list)
    cut: int | None = None
    end: str = "keep"  # or "close", "reset", "hang"
    piece: int = 0  # bytes at a time, 0 for all at once
    pause: float = 0  # seconds after each piece
    is_announced: bool = True  # how many bytes there are

    def header(self, name: str) -> str:
        """A header's value, or nothing."""
        return dict(self.headers).get(name, "")

    def with_header(self, name: str, value: str | None) -> Self:
        """This reply with the one value for the header, or with none."""
        self.headers = [pair for pair in self.headers if pair[0] != name]
        self.headers += [(name, value)] if value is not None else []
        return self

    def broken(self, cut: int, end: str) -> Self:
        """This reply, which breaks off after so many bytes of its body."""
        self.cut, self.end = cut, end
        return self


def json_reply(value: object, status: int = 200) -> Reply:
    return Reply(status, json.dumps(value).encode(), [("Content-Type", "application/json; charset=utf-8")])


def json_error(code: int, message: str, shape: str) -> Reply:
    """An error of the API in its "nested" or its "flat" shape."""
    error = {"code": code, "message": message}
    return json_reply(error if shape == "flat" else {"error": {**error, "status": NAMES.get(code, "UNKNOWN")}}, code)


def html_page(status: int) -> Reply:
    return Reply(status, PAGE, [("Content-Type", "text/html; charset=utf-8")])


def xml_error(status: int, code: str, message: str) -> Reply:
    """An error of the storage."""
    body = f"<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return Reply(status, body.encode(), [("Content-Type", "application/xml; charset=UTF-8")])


class Server(ThreadingHTTPServer):
    """A server on a free port, which ends what it holds open when it stops."""

    daemon_threads = True

    def __init__(self, role: str, answer: Callable[[Request], Reply]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.role, self.answer = role, answer
        self.connections: set[socket.socket] = set()
        self.changed = threading.Condition()  # of the connections
        self.closing = threading.Event()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)  # HTTPServer's asks the network for the host's name

    def start(self) -> None:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        """Return when nothing listens and no connection is left."""
        self.closing.set()
        self.shutdown()
        self.server_close()
        with self.changed:
            for connection in self.connections:
                sever(connection)
            self.changed.wait_for(lambda: not self.connections, timeout=PATIENCE)

    def opened(self, connection: socket.socket) -> None:
        with self.changed:
            self.connections.add(connection)
            if self.closing.is_set():
                sever(connection)

    def closed(self, connection: socket.socket) -> None:
        with self.changed:
            self.connections.discard(connection)
            self.changed.notify_all()

    def shutdown_request(self, request: Any) -> None:
        if request.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, len(RESET)) == RESET:
            self.close_request(request)  # a farewell first would take the reset's place
        else:
            super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):  # a client may go whenever it likes
            super().handle_error(request, client_address)


def sever(connection: socket.socket) -> None:
    with suppress(OSError):  # it is closed already
        connection.shutdown(socket.SHUT_RDWR)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or the body waits for the client to confirm the headers
    timeout = PATIENCE
    server: Server

    def setup(self) -> None:
        super().setup()
        self.server.opened(self.connection)

    def finish(self) -> None:
        try:
            super().finish()
        finally:
            self.server.closed(self.connection)

    def exchange(self) -> None:
        reply = self.server.answer(self.read_request())
        if reply.status is not None:
            self.write_reply(reply, reply.status)
        if reply.end == "hang":
            self.connection.recv(1)  # until either side closes
        if reply.end == "reset":
            self.wait_for_arrival()
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.close_connection = self.close_connection or reply.end != "keep"

    do_GET = do_POST = do_PUT = exchange  # noqa: N815 - so they are called

    def read_request(self) -> Request:
        parts = urlsplit(self.path)
        query, body = dict(parse_qsl(parts.query)), self.rfile.read(int(self.headers.get("Content-Length", 0)))
        return Request(self.server.role, self.command, unquote(parts.path), query, self.headers, body)

    def write_reply(self, reply: Reply, status: int) -> None:
        self.send_response(status)
        for name, value in reply.headers:
            self.send_header(name, value)
        if reply.is_announced:
            self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        body = reply.body[: reply.cut]
        size = reply.piece or len(body) or 1
        for start in range(0, len(body), size):
            self.wfile.write(body[start : start + size])
            self.server.closing.wait(reply.pause)

    def wait_for_arrival(self) -> None:
        """Return when the client's side has all that was written, as a reset takes along what is still on its way."""
        with suppress(ImportError, OSError):  # Linux alone tells
            import fcntl
            import termios

            for _ in range(PATIENCE * 1000):
                left = fcntl.ioctl(self.connection, termios.TIOCOUTQ, bytes(4))
                if not any(left) or self.server.closing.wait(0.001):
                    break

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: who asks keeps the record."""
