"""Who is next among keys: each has a counter of what it got, divided by its weight, and the lowest is served. Pure."""

from __future__ import annotations

from collections.abc import Callable

CREDIT = 10.0
"""How far, in units of cost, a key that could not be served may stay behind the others and then catch up."""
_MAX_IDLE = 20_000


class Account:
    """What one key got. `waiting` and `held` are its jobs here; without any it is idle."""

    __slots__ = ("held", "key", "used", "waiting", "weight")

    def __init__(self, key: str, weight: float, used: float) -> None:
        self.key = key
        self.weight = weight
        self.used = used
        self.waiting = 0
        self.held = 0

    @property
    def idle(self) -> bool:
        return not (self.waiting or self.held)


class FairShares:
    """Counters only rise together: a key that comes back starts where the one that was served last stood."""

    def __init__(self, weight_of: Callable[[str], float] = lambda _key: 1.0) -> None:
        self._weight_of = weight_of
        self._accounts: dict[str, Account] = {}
        self._idle: dict[str, None] = {}
        self.floor = 0.0
        """The counter of the key that was served last, when that was the lowest of those that could be."""

    def __len__(self) -> int:
        return len(self._accounts)

    def account(self, key: str) -> Account:
        """The key's account; one that was idle starts at the floor."""
        account = self._accounts.get(key)
        if account is None:
            account = self._accounts[key] = Account(key, self._weight_of(key), self.floor)
        elif key in self._idle:
            del self._idle[key]
            account.weight = self._weight_of(key)
            self.raise_to_floor(account)
        return account

    def raise_to_floor(self, account: Account) -> None:
        """A key whose jobs could not run has not been saving up meanwhile."""
        account.used = max(account.used, self.floor)

    def serve(self, account: Account, cost: float) -> None:
        """Charge a key that is served."""
        account.used = max(account.used, self.floor - CREDIT)
        self.floor = max(self.floor, account.used)
        self.correct(account, cost)

    def correct(self, account: Account, cost: float) -> None:
        """Charge, or pay back, what a job cost more, or less, than it was charged for."""
        account.used += cost / account.weight

    def left(self, account: Account) -> None:
        """Call when a job of the key is gone. Accounts that say nothing any more are forgotten."""
        if not account.idle:
            return
        if account.used <= self.floor:
            self._accounts.pop(account.key, None)
            self._idle.pop(account.key, None)
            return
        self._idle[account.key] = None
        if len(self._idle) > _MAX_IDLE:
            oldest = next(iter(self._idle))
            del self._idle[oldest], self._accounts[oldest]
