"""HTTP to Kaggle: JSON requests to its API, and files from and to signed addresses, which never see the credentials.

Answers are read only as far as they are needed, within limits of time and size. No error shows a secret or a signed
address.
"""

import json
import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import requests
from urllib3.exceptions import HTTPError, ReadTimeoutError
from urllib3.util import parse_url

from kagglepipe.errors import UserError
from kagglepipe.kaggle.credentials import Credentials
from kagglepipe.kaggle.errors import KaggleError, api_error, http_date, storage_error

CONNECT_TIMEOUT = 10.0  # seconds
MAX_JSON = 32 * 2**20  # bytes of an answer
MAX_TEXT = 10_000  # characters of one string in it
CHUNK = 2**20  # most bytes to read at once
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")

Json = dict[str, Any]


class Transport:
    """Sends requests for one user, each once. Raises UserError for an endpoint that must not see the credentials.

    endpoint: http:// only on this machine. timeout: seconds without an answer or a byte. max_seconds: for which a whole
    JSON answer may be read. skew: seconds by which this machine's clock is ahead of Kaggle's; None before an answer.
    """

    def __init__(self, credentials: Credentials, endpoint: str, *, timeout: float, max_seconds: float) -> None:
        self.base, self.is_local = base_address(endpoint), is_loopback(endpoint)
        self.credentials, self.max_seconds = credentials, max_seconds
        self.timeout = (min(CONNECT_TIMEOUT, timeout), timeout)
        self.skew: float | None = None
        self._api, self._storage = new_session(local=self.is_local), new_session(local=self.is_local)
        self._api.auth = self._sign

    def _sign(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = self.credentials.authorization
        return request

    def get(self, address: str, headers: dict[str, str]) -> requests.Response:
        """Request a file: an unread answer below 400, or 416. Raises KaggleError with only the status."""
        answer = self._transfer("GET", address, "the download", headers=headers)
        if answer.status_code >= 400 and answer.status_code != 416:
            answer.close()
            raise storage_error(answer, "download")
        return answer

    def put(self, address: str, stream: IO[bytes]) -> None:
        """Upload a file; the body of the answer is not waited for. Raises KaggleError."""
        headers = {"Content-Type": "application/octet-stream"}
        answer = self._transfer("PUT", address, "the upload", headers=headers, data=stream)
        answer.close()
        if answer.status_code not in (200, 201):
            raise storage_error(answer, "upload")

    def _transfer(self, verb: str, address: str, what: str, **rest: Any) -> requests.Response:
        if not (address.startswith("https://") or (self.is_local and is_loopback(address))):
            raise KaggleError(f"Kaggle sends to {masked(address)}, which is not https: not followed", "denied")
        with network_errors(what):
            return self._storage.request(
                verb, address, timeout=self.timeout, allow_redirects=False, stream=True, **rest
            )

    def post(self, method: str, payload: Json) -> requests.Response:
        """Call `<service>/<method>`: an unread answer below 400. Raises KaggleError."""
        name = method.rpartition("/")[2]
        with network_errors(name):
            answer = self._api.post(
                f"{self.base}/{method}", json=payload, timeout=self.timeout, allow_redirects=False, stream=True
            )
        if (server := http_date(answer.headers.get("Date", ""))) is not None:
            self.skew = time.time() - server
        if answer.status_code >= 400:
            raise api_error(answer, self._error_message(answer, name), name, payload.get("competitionName"))
        return answer

    def call(self, method: str, payload: Json) -> Json:
        """Call `<service>/<method>`: the JSON object that it returns. Raises KaggleError for any other answer."""
        name = method.rpartition("/")[2]
        answer = self.post(method, payload)
        text = self._text(answer, name)
        try:
            value = self._hide(json.loads(text))
        except (ValueError, RecursionError):
            raise KaggleError(f"Kaggle's answer to {name} is {_describe(text)}", "odd") from None
        if answer.status_code >= 300 or not isinstance(value, dict):
            advice = "type the same command later"
            raise KaggleError(f"Kaggle's answer to {name} is not what its API gives; {advice}", "odd")
        return value

    def _error_message(self, answer: requests.Response, name: str) -> str:
        """Read the service's message in an error, in either of its shapes; "" where there is none."""
        try:
            value = self._hide(json.loads(self._text(answer, name)))
        except (ValueError, RecursionError, KaggleError):
            return ""  # the status says enough
        inner = value.get("error", value) if isinstance(value, dict) else value
        return printable(inner.get("message") if isinstance(inner, dict) else inner)[:300]

    def _text(self, answer: requests.Response, name: str) -> str:
        """Read an answer that ends in time and within MAX_JSON bytes."""
        data, end = bytearray(), time.monotonic() + self.timeout[1] + self.max_seconds
        with network_errors(name), answer:
            for chunk in chunks(answer):
                data += chunk
                if len(data) > MAX_JSON or time.monotonic() > end:
                    raise KaggleError(f"Kaggle's answer to {name} does not end", "odd")
        return data.decode("utf-8", "replace")

    def _hide(self, value: Any) -> Any:
        """Hide credentials that the server has echoed; in decoded JSON, where no escape covers them."""
        if isinstance(value, dict):
            return {self.credentials.hide(key[:MAX_TEXT]): self._hide(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._hide(item) for item in value]
        return self.credentials.hide(value[:MAX_TEXT]) if isinstance(value, str) else value


class _Session(requests.Session):
    """A session that takes no answer for a redirect: requests reads its body and address, even if not to follow it."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        return None


def new_session(*, local: bool) -> requests.Session:
    """Open a session without netrc, without logs of addresses and, on this machine, without a proxy."""
    from kagglepipe import __version__

    for name in ("", ".connection", ".connectionpool"):  # they log signed addresses, in warnings too
        logging.getLogger(f"urllib3{name}").setLevel(logging.ERROR)
    session = _Session()
    session.trust_env = not local
    session.auth = lambda request: request  # else ~/.netrc
    session.headers.update({"User-Agent": f"kagglepipe/{__version__}", "Accept-Encoding": "identity"})
    return session


def chunks(answer: requests.Response) -> Iterator[bytes]:
    """Yield the body as it arrives; requests' own iterator waits for full chunks, and loses one when it breaks off."""
    while chunk := answer.raw.read1(CHUNK, decode_content=True):
        yield chunk


def _describe(text: str) -> str:
    """Say what an answer that is no JSON looks like."""
    if "<html" in text[:1000].lower():
        return "a web page: does a proxy or login stand between here and Kaggle?"
    return "not JSON: type the same command later" if text.strip() else "empty: type the same command later"


def printable(value: object) -> str:
    """Put text of a server on one line, without characters that could steer a terminal; "" for anything else."""
    return " ".join("".join(c if c.isprintable() else " " for c in value).split()) if isinstance(value, str) else ""


@contextmanager
def network_errors(what: str) -> Iterator[None]:
    """Turn errors of requests and urllib3 into a KaggleError; their text, and the chain of causes, show addresses."""
    try:
        yield
    except (requests.RequestException, HTTPError) as error:  # requests lets some of urllib3's pass
        raise _network_error(error, what) from None


def _network_error(error: Exception, what: str) -> KaggleError:
    reason = getattr(error.args[0], "reason", None) if error.args else None
    refused = isinstance(error, requests.ConnectTimeout) or type(reason).__name__ in (  # so that nothing was sent
        "NewConnectionError", "NameResolutionError", "ConnectTimeoutError",
    )  # fmt: skip
    if isinstance(error, requests.exceptions.SSLError):
        fault, advice = "the connection is not secure (certificate)", "check clock, proxy and REQUESTS_CA_BUNDLE"
    elif isinstance(error, requests.exceptions.ProxyError):
        fault, advice = "the proxy does not answer", "check HTTPS_PROXY"
    elif refused:
        fault, advice = "no connection", "check the network (in a Kaggle notebook: Internet must be on)"
    elif isinstance(error, requests.Timeout | ReadTimeoutError):
        fault, advice = "no answer in time", "type the same command later, or wait longer with kaggle.timeout=90"
    else:
        fault, advice = "the connection broke off", "check the network and type the same command again"
    return KaggleError(f"Kaggle, {what}: {fault}; {advice}", "network", harmless=refused)


def base_address(endpoint: str) -> str:
    """Return `<endpoint>/v1`. Raises UserError unless it is https, or http on this machine."""
    local = endpoint.startswith("http://") and is_loopback(endpoint)
    if not local and not (endpoint.startswith("https://") and host_of(endpoint)):
        raise UserError(
            f"kaggle.endpoint is {masked(endpoint)}, which might show the token to others: give an https:// address "
            "(http:// is only for 127.0.0.1)"
        )
    if set(endpoint) & set("@?#"):
        raise UserError(f"kaggle.endpoint={masked(endpoint)} takes neither a user nor a query: give only the address")
    return endpoint.rstrip("/").removesuffix("/v1") + "/v1"


def host_of(address: str) -> str | None:
    r"""Find the host to which requests would connect, which urllib.parse may see elsewhere; None in a broken address.

    >>> host_of("http://evil.org\\@127.0.0.1/"), host_of("https://[x")
    ('evil.org', None)
    """
    try:
        host = parse_url(address).host
    except ValueError:
        return None
    return host if host and host.isascii() and host.isprintable() else None


def is_loopback(address: str) -> bool:
    """Whether an address names this machine.

    >>> is_loopback("http://127.0.0.1:8000/x"), is_loopback("http://127.0.0.1.evil.org")
    (True, False)
    """
    return host_of(address) in LOOPBACK


def masked(address: str) -> str:
    """Hide user, path and query of an address.

    >>> masked("https://user:pw@storage.googleapis.com/a?X-Goog-Signature=1")
    'https://storage.googleapis.com/…'
    """
    host, scheme = host_of(address), re.match(r"[a-z]+:(?=//)", address, re.A | re.I)
    return f"{scheme[0]}//{host}/…" if host and scheme else "a broken address"
