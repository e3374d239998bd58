"""What can go wrong with Kaggle, told in one line without a secret or a signed address, and how long it is borne."""

import email.utils
import logging
import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import requests
from urllib3.exceptions import HTTPError, ReadTimeoutError
from urllib3.util import parse_url

from kagglepipe.errors import UserError

SITE = "https://www.kaggle.com/competitions"
TEMPORARY = ("limit", "server", "network", "odd")  # kinds of error that another try may mend
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
LONGEST_PAUSE, LONGEST_ASKED = 30.0, 300.0  # seconds between tries by our choice; in all by Kaggle's
MOST_REPEATS = 10

log = logging.getLogger(__name__)


class KaggleError(UserError):
    """What went wrong, and what to do.

    kind: `auth`, `rules`, `denied`, `missing` or `rejected`, which the user can mend; `limit`, `server`, `network` or
    `odd` (an answer that the API does not give), which may pass; of a download also `doubt` (whether it is the same
    file) and `damage`. after: seconds that Kaggle asks to wait. harmless: the request surely changed nothing.
    """

    def __init__(self, message: str, kind: str, *, after: float | None = None, harmless: bool = False) -> None:
        super().__init__(message)
        self.kind, self.after, self.harmless = kind, after, harmless


class Patience:
    """Bears errors for so many seconds, beside the waits that Kaggle asks for. pause: how waiting is done."""

    def __init__(self, seconds: float, pause: Callable[[float], None]) -> None:
        self.seconds, self.pause = seconds, pause
        self.renew()

    def renew(self) -> None:
        """As at first, since something was achieved."""
        self.end, self.wait, self.asked, self.repeats = time.monotonic() + self.seconds, 1.0, 0.0, 0

    def bear(self, error: KaggleError) -> None:
        """Waits until it is time for another try. Raises the error if patience is at its end."""
        pause = self.wait * random.uniform(0.75, 1.25) if error.after is None else error.after
        self.asked += error.after or 0.0
        self.end += error.after or 0.0
        late = error.after is None and time.monotonic() + pause > self.end
        if late or self.asked > LONGEST_ASKED or self.repeats == MOST_REPEATS:
            raise error
        log.info("kaggle: %s; trying again in %.0f s", str(error).partition("; ")[0], pause)  # what to type comes last
        self.pause(pause)
        self.repeats, self.wait = self.repeats + 1, min(2 * self.wait, LONGEST_PAUSE)


def answered(answer: requests.Response, said: str, method: str, slug: str | None) -> KaggleError:
    """The error that an answer of 400 or above stands for. said: the service's own words, "" for none."""
    code = answer.status_code
    told = f"Kaggle answered {code} to {method}" + (f": {said.rstrip('.')}" if said else "")
    if code == 429:
        after = retry_after(answer)
        when = f"it asks to wait {after:.0f} s" if after is not None else "wait a minute"
        return KaggleError(f"{told}: too many requests, {when}", "limit", after=after, harmless=True)
    if code >= 500 or code == 408:
        return KaggleError(f"{told}: Kaggle is in trouble; type the same command later", "server")
    kind, mend = _mistake(code, said, slug, about_data=method in ("ListDataFiles", "DownloadDataFiles"))
    return KaggleError(f"{told}{mend}", kind, harmless=True)


def _mistake(code: int, said: str, slug: str | None, *, about_data: bool) -> tuple[str, str]:
    """(kind, what to do) for an answer that another try will not mend."""
    rules = f"{SITE}/{slug}/rules"
    if code == 401:
        return "auth", "; the credentials are not valid (any more): make a token at https://www.kaggle.com/settings"
    if code == 403 and re.search(r"\brules\b", said, re.I):
        return "rules", f"; accept them at {rules}, then type the same command"
    if code == 403:
        return "denied", f"; is competition.slug={slug} right, have you joined it and accepted its rules at {rules} ?"
    if code == 404 and about_data:
        return "missing", f"; there is no competition.slug={slug}: look for its address at {SITE}"
    if code == 404:
        return "missing", "; Kaggle does not know this question (any more): look for a newer kagglepipe"
    return "rejected", "; mend that, then type the same command"


def storage_error(answer: requests.Response, what: str) -> KaggleError:
    """The error for a refused `download` or `upload`. A signed address may have expired, so it may pass."""
    told = f"Kaggle's storage answered {answer.status_code} to the {what}; type the same command later"
    if answer.status_code == 429:
        return KaggleError(told, "limit", after=retry_after(answer))
    return KaggleError(told, "server")


@contextmanager
def network_errors(what: str) -> Iterator[None]:
    """Turns what requests and urllib3 raise into a KaggleError; their text, and the chain of causes, show addresses."""
    try:
        yield
    except (requests.RequestException, HTTPError) as error:  # requests lets some of urllib3's pass
        raise network_error(error, what) from None


def network_error(error: Exception, what: str) -> KaggleError:
    """The error for no answer at all, or half of one."""
    refused = _was_refused(error)
    if isinstance(error, requests.exceptions.SSLError):
        fault, mend = "the connection is not secure (certificate)", "check the clock, the proxy and REQUESTS_CA_BUNDLE"
    elif isinstance(error, requests.exceptions.ProxyError):
        fault, mend = "the proxy does not answer", "check HTTPS_PROXY"
    elif refused:
        fault, mend = "no connection", "check the network (in a Kaggle notebook: Internet must be on)"
    elif isinstance(error, requests.Timeout | ReadTimeoutError):
        fault, mend = "no answer in time", "type the same command later, or wait longer with kaggle.timeout=90"
    else:
        fault, mend = "the connection broke off", "check the network and type the same command again"
    return KaggleError(f"Kaggle, {what}: {fault}; {mend}", "network", harmless=refused)


def _was_refused(error: Exception) -> bool:
    """Whether no connection came about, so that nothing can have been sent."""
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return isinstance(error, requests.ConnectTimeout) or type(reason).__name__ in (
        "NewConnectionError", "NameResolutionError", "ConnectTimeoutError",
    )  # fmt: skip


def host_of(address: str) -> str | None:
    r"""The host to which requests would go, which urllib.parse may see elsewhere; None in a broken address.

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
    """An address without what may be secret in it: user, path and query.

    >>> masked("https://user:pw@storage.googleapis.com/a?X-Goog-Signature=1")
    'https://storage.googleapis.com/…'
    """
    host, scheme = host_of(address), re.match(r"[a-z]+:(?=//)", address, re.A | re.I)
    return f"{scheme[0]}//{host}/…" if host and scheme else "a broken address"


def retry_after(answer: requests.Response) -> float | None:
    """Seconds to wait by the header Retry-After, which holds seconds or a date by Kaggle's clock; None without one."""
    value = answer.headers.get("Retry-After", "").strip()
    if re.fullmatch(r"\d+", value, re.A):
        return min(float(value), 1e9)
    date, now = http_date(value), http_date(answer.headers.get("Date", ""))
    return None if date is None else max(0.0, date - (time.time() if now is None else now))


def http_date(value: str) -> float | None:
    """Seconds since 1970 of an HTTP date; None if it is none."""
    try:
        date: datetime = email.utils.parsedate_to_datetime(value)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
