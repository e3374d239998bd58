"""Errors of Kaggle's API in one line each, without secrets or signed addresses, and how long requests are retried."""

import email.utils
import logging
import random
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from kagglepipe.errors import UserError

if TYPE_CHECKING:  # catching an error does not import requests
    import requests

SITE = "https://www.kaggle.com/competitions"
TEMPORARY = ("limit", "server", "network", "odd")  # kinds of error that a retry may cure
MAX_BACKOFF, MAX_RETRY_AFTER = 30.0, 300.0  # seconds between tries by our choice; in all by Kaggle's
MAX_RETRIES = 10

log = logging.getLogger(__name__)
Result = TypeVar("Result")


class KaggleError(UserError):
    """A failed request: what went wrong, and what to do.

    kind: `auth`, `rules`, `denied`, `missing` or `rejected`, which the user can correct; `limit`, `server`, `network`
    or `odd` (an answer that the API does not give), which may pass; of a download also `mismatch` (perhaps another
    file) and `damage`. retry_after: seconds that Kaggle asks to wait. harmless: the request had no effect.
    """

    def __init__(self, message: str, kind: str, *, retry_after: float | None = None, harmless: bool = False) -> None:
        super().__init__(message)
        self.kind, self.retry_after, self.harmless = kind, retry_after, harmless


class RetryPolicy:
    """Exponential backoff within `seconds`, beside the waits that Kaggle asks for.

    urllib3's Retry knows neither a limit of time nor which requests must not be sent twice.
    """

    def __init__(self, seconds: float, pause: Callable[[float], None]) -> None:
        self.seconds, self.pause = seconds, pause
        self.reset()

    def reset(self) -> None:
        """Start anew, after progress."""
        self.end, self.backoff = time.monotonic() + self.seconds, 1.0
        self.asked, self.retries = 0.0, 0

    def wait(self, error: KaggleError) -> None:
        """Wait until the next try is due. Raises `error` if there is none."""
        after = error.retry_after
        pause = self.backoff * random.uniform(0.75, 1.25) if after is None else after
        self.asked += after or 0.0
        self.end += after or 0.0
        late = after is None and time.monotonic() + pause > self.end
        if late or self.asked > MAX_RETRY_AFTER or self.retries == MAX_RETRIES:
            raise error
        log.info("kaggle: %s; trying again in %.0f s", str(error).partition("; ")[0], pause)  # without the advice
        self.pause(pause)
        self.retries, self.backoff = self.retries + 1, min(2 * self.backoff, MAX_BACKOFF)


def with_retries(attempt: Callable[[], Result], policy: RetryPolicy, *, only_harmless: bool = False) -> Result:
    """Call `attempt` until it succeeds. Raises the KaggleError that no retry cures, or the last one."""
    while True:
        try:
            return attempt()
        except KaggleError as error:
            if error.kind not in TEMPORARY or (only_harmless and not error.harmless):
                raise
            policy.wait(error)


def api_error(answer: "requests.Response", message: str, method: str, slug: str | None) -> KaggleError:
    """Make the error for a status of 400 or above. message: the service's own, "" for none."""
    code = answer.status_code
    text = f"Kaggle answered {code} to {method}" + (f": {message.rstrip('.')}" if message else "")
    if code == 429:
        after = retry_after(answer)
        when = f"it asks to wait {after:.0f} s" if after is not None else "wait a minute"
        return KaggleError(f"{text}: too many requests, {when}", "limit", retry_after=after, harmless=True)
    if code >= 500 or code == 408:
        return KaggleError(f"{text}: Kaggle is in trouble; type the same command later", "server")
    kind, advice = _mistake(code, message, slug, about_data=method in ("ListDataFiles", "DownloadDataFiles"))
    return KaggleError(f"{text}; {advice}", kind, harmless=True)


def _mistake(code: int, message: str, slug: str | None, *, about_data: bool) -> tuple[str, str]:
    """Return (kind, advice) for a status that no retry cures."""
    rules = f"{SITE}/{slug}/rules"
    if code == 401:
        return "auth", "the credentials are not valid (any more): make a token at https://www.kaggle.com/settings"
    if code == 403 and re.search(r"\brules\b", message, re.I):
        return "rules", f"accept them at {rules}, then type the same command"
    if code == 403:
        return "denied", f"is competition.slug={slug} right, have you joined it and accepted its rules at {rules} ?"
    if code == 404 and about_data:
        return "missing", f"there is no competition.slug={slug}: look for its address at {SITE}"
    if code == 404:
        return "missing", "Kaggle's API has no such method (any more): look for a newer kagglepipe"
    return "rejected", "correct that, then type the same command"


def storage_error(answer: "requests.Response", what: str) -> KaggleError:
    """Make the error for a refused `download` or `upload`; a new signed address may cure it."""
    text = f"Kaggle's storage answered {answer.status_code} to the {what}; type the same command later"
    if answer.status_code == 429:
        return KaggleError(text, "limit", retry_after=retry_after(answer))
    return KaggleError(text, "server")


def retry_after(answer: "requests.Response") -> float | None:
    """Read the header Retry-After in seconds: a number, or a date by Kaggle's clock; None without one."""
    value = answer.headers.get("Retry-After", "").strip()
    if re.fullmatch(r"\d+", value, re.A):
        return min(float(value), 1e9)
    date, now = http_date(value), http_date(answer.headers.get("Date", ""))
    return None if date is None else max(0.0, date - (time.time() if now is None else now))


def http_date(value: str) -> float | None:
    """Parse an HTTP date to seconds since 1970; None if it is none."""
    try:
        parsed = email.utils.parsedate_tz(value)
        return None if parsed is None else float(email.utils.mktime_tz(parsed))
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
