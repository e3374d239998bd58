"""Retries of requests: which errors they may cure, and how long they go on."""

import logging
import random
import time
from collections.abc import Callable
from typing import TypeVar

from kagglepipe.kaggle.errors import KaggleError

TEMPORARY = ("limit", "server", "network", "odd")  # kinds of error that a retry may cure
MAX_BACKOFF, MAX_RETRY_AFTER = 30.0, 300.0  # seconds between tries by our choice; in all by Kaggle's
MAX_RETRIES = 10

log = logging.getLogger(__name__)
Result = TypeVar("Result")


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
