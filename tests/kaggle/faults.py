"""What can go wrong between a client and `emulator`: a table, `FAULTS`, of what is answered instead.

A fault gets the `Exchange` and the details that `KaggleEmulator.fault` was told. Those that call `proceed` alter or
break off the true answer, so the server has done what it was asked; the others say no before it does anything.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tests.kaggle.wire import Reply, Request, html_page, json_error, json_reply, xml_error

if TYPE_CHECKING:
    from tests.kaggle.emulator import KaggleEmulator

Row = Mapping[str, Any]

RULES = "You must accept this competition's rules before you'll be able to download files."
DENIED = "Permission 'competitions.get' was denied"
QUOTA = (
    "Submission not allowed: Your team has used its daily Submission allowance ({quota}) today, "
    "please try again tomorrow UTC ({hours} hours from now)."
)
ODD_ROWS: tuple[Row, ...] = (  # what a list of submissions has no right to hold
    {"ref": 7001, "status": "QUEUED_FOR_RESCORE", "description": "an unknown status"},
    {"ref": 7002, "status": 1, "description": "a status in digits"},
    {"status": "COMPLETE", "publicScore": "0.5", "description": "no ref"},
    {"ref": 7004, "status": "COMPLETE", "publicScore": None, "privateScore": None, "description": None},
    {"ref": "7005", "status": None, "date": "yesterday", "publicScore": 0.5},
)


@dataclass(frozen=True)
class Exchange:
    """A request, its place, and the true answer to it, should the fault want that."""

    kaggle: "KaggleEmulator"
    request: Request
    place: str
    proceed: Callable[[], Reply]

    def error(self, code: int, message: str) -> Reply:
        """An error as the API or the storage words it."""
        if self.request.role == "api":
            return json_error(code, message, self.kaggle.error_shape)
        return xml_error(code, message.replace(" ", ""), message)


def quota_message(quota: int) -> str:
    now = datetime.now(UTC)
    midnight = datetime(now.year, now.month, now.day, tzinfo=UTC) + timedelta(days=1)
    return QUOTA.format(quota=quota, hours=round((midnight - now).total_seconds() / 3600))


# --- an answer of its own -----------------------------------------------------------------------------------------


def status(code: int, message: str) -> Callable[..., Reply]:
    """A fault that answers with an error, or with `html` with a page."""

    def answer(exchange: Exchange, html: bool = False) -> Reply:
        return html_page(code) if html else exchange.error(code, message)

    return answer


def too_many(exchange: Exchange, retry_after: float | str | datetime | None = 1, html: bool = False) -> Reply:
    """429. retry_after: seconds, a moment, any text, or None for no such header."""
    if isinstance(retry_after, datetime):
        retry_after = formatdate(retry_after.timestamp(), usegmt=True)
    reply = status(429, "Too many requests")(exchange, html)
    return reply.with_header("Retry-After", None if retry_after is None else str(retry_after))


def answer(exchange: Exchange, data: bytes = b"", code: int = 200, hang: bool = False, **headers: str) -> Reply:
    """Any answer at all; with `hang`, half of its body never comes."""
    reply = Reply(code, data, [(name.replace("_", "-"), value) for name, value in headers.items()])
    return reply.broken(len(data) // 2, "hang") if hang else reply


def other_json(exchange: Exchange, value: object = None) -> Reply:
    return json_reply(value)


def expired(exchange: Exchange, code: int = 403) -> Reply:
    return xml_error(code, "ExpiredToken", "The provided token has expired.")


def redirect(exchange: Exchange, to: str | None = None) -> Reply:
    """To another host; by default to `elsewhere`, which would serve what the storage does."""
    to = to or exchange.kaggle.elsewhere + quote(exchange.request.path)
    return Reply(exchange.kaggle.redirect_code, b"", [("Location", to)])


def redirect_loop(exchange: Exchange) -> Reply:
    return redirect(exchange, f"{exchange.kaggle.elsewhere}/loop")


def reset(exchange: Exchange) -> Reply:
    return Reply(None, end="reset")


def hang(exchange: Exchange, after: int | None = None) -> Reply:
    """Nothing comes, or nothing after so many bytes of the body, until the client goes or the emulator ends."""
    return Reply(None, end="hang") if after is None else exchange.proceed().broken(after, "hang")


# --- the true answer, spoilt --------------------------------------------------------------------------------------


def drop(exchange: Exchange, after: int = 0, how: str = "close") -> Reply:
    """The connection ends after so many bytes of the body, with a farewell ("close") or with a "reset"."""
    return exchange.proceed().broken(after, how)


def trickle(exchange: Exchange, piece: int = 1024, pause: float = 0.01) -> Reply:
    """The body comes in pieces of so many bytes, with so many seconds between them."""
    reply = exchange.proceed()
    reply.piece, reply.pause = piece, pause
    return reply


def truncated(exchange: Exchange, keep: int = 10) -> Reply:
    """So many bytes, announced as if they were all."""
    reply = exchange.proceed()
    reply.body = reply.body[:keep]
    return reply


def corrupt(exchange: Exchange, at: int | None = None) -> Reply:
    """One byte is another; by default the one in the middle."""
    reply = exchange.proceed()
    at = len(reply.body) // 2 if at is None else at
    if reply.body:
        reply.body = reply.body[:at] + bytes([reply.body[at] ^ 0xFF]) + reply.body[at + 1 :]
    return reply


def changed(exchange: Exchange, archive: bytes) -> Reply:
    """From now on the object is this one."""
    exchange.kaggle.store(exchange.request.path, archive)
    return exchange.proceed()


def range_ignored(exchange: Exchange) -> Reply:
    """200 and all of it."""
    del exchange.request.headers["Range"]
    return exchange.proceed()


def early_span(exchange: Exchange) -> Reply:
    """The Content-Range starts a byte too early."""
    reply = exchange.proceed()
    start, _, rest = reply.header("Content-Range").removeprefix("bytes ").partition("-")
    return reply.with_header("Content-Range", f"bytes {int(start) - 1}-{rest}") if rest else reply


def other_bytes(exchange: Exchange) -> Reply:
    """As many bytes as are asked for, but those from the start."""
    reply = exchange.proceed()
    reply.body = exchange.kaggle.objects[exchange.request.path].data[: len(reply.body)]
    return reply


def altered(
    exchange: Exchange, code: int | None = None, more: bytes = b"", cut: int | None = None, **headers: str | None
) -> Reply:
    """Another status, more bytes, an end after `cut` of them, or other headers; None leaves out, Content_Length too."""
    reply = exchange.proceed()
    reply.status, reply.body = code or reply.status, reply.body + more
    for name, value in headers.items():
        reply.with_header(name.replace("_", "-"), value)
    reply.is_announced = "Content_Length" not in headers
    is_whole = cut is None and reply.is_announced
    return reply if is_whole else reply.broken(len(reply.body) if cut is None else cut, "close")


def weak_etag(exchange: Exchange) -> Reply:
    return altered(exchange, ETag=f"W/{exchange.proceed().header('ETag')}")


def odd_rows(exchange: Exchange, rows: Sequence[Row] = ODD_ROWS, change: Row | None = None) -> Reply:
    """The list of submissions, with `rows` before its own, each of which gets the values of `change`."""
    shown = json.loads(exchange.proceed().body)
    own = [{**row, **(change or {})} for row in shown.get("submissions", [])]
    return json_reply({**shown, "submissions": [*rows, *own]})


def no_history(exchange: Exchange, code: int = 403) -> Reply:
    """An error as long as there is no submission to list."""
    reply = exchange.proceed()
    return reply if json.loads(reply.body).get("submissions") else exchange.error(code, DENIED)


FAULTS: dict[str, Callable[..., Reply]] = {
    "400 quota": lambda exchange: exchange.error(400, quota_message(5)),
    "401": status(401, "Unauthenticated"),
    "403 rules": status(403, RULES),
    "403 denied": status(403, DENIED),
    "404": status(404, "Not found"),
    "429": too_many,
    "500": status(500, "Internal error"),
    "502": status(502, "Bad gateway"),
    "503": status(503, "The service is currently unavailable"),
    "504": status(504, "Deadline exceeded"),
    "html": lambda exchange: html_page(200),
    "empty": lambda exchange: Reply(200, b"", [("Content-Type", "application/json")]),
    "json": other_json,
    "ref 0": lambda exchange: json_reply({"message": "Could not submit to competition"}),
    "odd rows": odd_rows,
    "no history": no_history,
    "reset": reset,
    "hang": hang,
    "drop": drop,
    "trickle": trickle,
    "truncated": truncated,
    "corrupt": corrupt,
    "changed": changed,
    "expired": expired,
    "range ignored": range_ignored,
    "wrong content-range": early_span,
    "no content-range": lambda exchange: altered(exchange, Content_Range=None),
    "wrong bytes": other_bytes,
    "no etag": lambda exchange: altered(exchange, ETag=None),
    "weak etag": weak_etag,
    "wrong md5": lambda exchange: altered(exchange, x_goog_hash="md5=AAAAAAAAAAAAAAAAAAAAAA=="),
    "altered": altered,
    "answer": answer,
    "say": lambda exchange, code, message: exchange.error(code, message),
    "redirect": redirect,
    "redirect loop": redirect_loop,
}
RANGED = ("range ignored", "wrong content-range", "no content-range", "wrong bytes")  # sense only with a Range
