"""A verified, resumable download against a bare `requests` stream to disk, over the loopback interface.

    python benchmarks/download.py [--mb 500] [--rounds 5]

Each download runs in a process of its own, so that its peak memory is its own, and the server in another. `with MD5` is
what a server that sends one costs: the hash has to be computed by whoever wants to compare it.
"""

import base64
import hashlib
import http.server
import multiprocessing
import os
import resource
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

import requests
from measure import make_parser

from kagglepipe.kaggle.client import KaggleClient
from kagglepipe.kaggle.credentials import Credentials
from kagglepipe.kaggle.download import fetch

MB = 10**6
BLOCK = os.urandom(MB)


def serve(file: str, send: Connection) -> None:
    """Serves one file on 127.0.0.1 until the process is ended; at /md5 with its checksum. Sends its port first."""
    with Path(file).open("rb") as stream:
        md5 = base64.b64encode(hashlib.file_digest(stream, "md5").digest()).decode()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # the API, which sends on to the storage
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(302)
            self.send_header("Location", "/md5" if self.path.startswith("/md5") else "/")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(Path(file).stat().st_size))
            self.send_header("ETag", '"1"')
            if self.path == "/md5":
                self.send_header("x-goog-hash", f"md5={md5}")
            self.end_headers()
            self.wfile.flush()
            with Path(file).open("rb") as stream:
                self.connection.sendfile(stream)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        send.send(server.server_port)
        server.serve_forever()


def bare(address: str, path: Path) -> None:
    """What anybody would write."""
    with requests.get(address, stream=True) as answer, path.open("wb") as file:
        for chunk in answer.iter_content(2**20):
            file.write(chunk)


def ours(address: str, path: Path) -> None:
    """As stage=download does it: a question to the API, a redirection to the storage, the verified file."""
    client = KaggleClient(Credentials("benchmark", "none"), endpoint=address)
    fetch(lambda headers: client.open_archive("any", headers), path, max_bytes=10**12)


WAYS = {"bare": (bare, "/"), "kagglepipe": (ours, "/"), "kagglepipe, with MD5": (ours, "/md5")}


def measure(way: str, port: int, folder: str, send: Connection) -> None:
    """Sends (seconds, peak memory in MB) of one download."""
    function, place = WAYS[way]
    start = time.perf_counter()
    function(f"http://127.0.0.1:{port}{place}", Path(folder) / "got.zip")
    seconds = time.perf_counter() - start
    send.send((seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MB))


def in_a_process(way: str, port: int) -> tuple[float, float]:
    """`measure` in a new process and folder."""
    receive, send = multiprocessing.Pipe(duplex=False)
    with tempfile.TemporaryDirectory() as folder:
        process = multiprocessing.get_context("spawn").Process(target=measure, args=(way, port, folder, send))
        process.start()
        figures: tuple[float, float] = receive.recv()
        process.join()
    return figures


def table(mb: int, rounds: int) -> None:
    """Prints medians over rounds for a file of so many MB; a ratio is the median of those within a round."""
    with tempfile.NamedTemporaryFile() as file:
        for _ in range(mb):
            file.write(BLOCK)
        file.flush()
        receive, send = multiprocessing.Pipe(duplex=False)
        server = multiprocessing.get_context("spawn").Process(target=serve, args=(file.name, send), daemon=True)
        server.start()
        port = receive.recv()
        in_a_process("bare", port)  # the disk's cache is warm for all of them
        figures = [{way: in_a_process(way, port) for way in WAYS} for _ in range(rounds)]
        server.terminate()
    for way in WAYS:
        speed = median(mb / each[way][0] for each in figures)
        ratio = median(each["bare"][0] / each[way][0] for each in figures)
        memory = max(each[way][1] for each in figures)
        print(f"{mb:4d} MB  {way:<22} {speed:6.0f} MB/s   ratio {ratio:.2f}   {memory:4.0f} MB")


if __name__ == "__main__":
    parser = make_parser(__doc__, mb=500, rounds=5)
    options = parser.parse_args()
    for size in (options.mb // 5, options.mb):
        table(size, options.rounds)
