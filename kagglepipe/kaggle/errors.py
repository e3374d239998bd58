"""Errors of Kaggle's API in one line each, without secrets or signed addresses."""

import email.utils
import re
import time
from typing import TYPE_CHECKING

from kagglepipe.errors import UserError

if TYPE_CHECKING:  # catching an error does not import requests
    import requests

SITE = "https://www.kaggle.com/competitions"


class KaggleError(UserError):
    """A failed request: what went wrong, and what to do.

    kind: `auth`, `rules`, `denied`, `missing` or `rejected`, which the user can correct; `limit`, `server`, `network`
    or `odd` (an answer that the API does not give), which may pass; of a download also `mismatch` (perhaps another
    file) and `damage`. retry_after: seconds that Kaggle asks to wait. harmless: the request had no effect.
    """

    def __init__(self, message: str, kind: str, *, retry_after: float | None = None, harmless: bool = False) -> None:
        super().__init__(message)
        self.kind, self.retry_after, self.harmless = kind, retry_after, harmless


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
        return email.utils.parsedate_to_datetime(value).timestamp()
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
