"""One phone, one job: a lease on this host (a lock that ends with its holder) and on the phone (for other hosts).

On this host it is a lock of the kernel's on a file of the cache: `kill -9` of the holder frees it. On the phone it is
a folder, made atomically, that names its holder and runs out by the phone's own uptime, which no change of its date
moves; the holder renews it by working. A farm may hand in tokens of its own, such as growing numbers: a lease that was
lost is known by another token in its place.
"""

import fcntl
import os
import secrets
import socket
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import msgspec

from device_profiler.errors import DeviceError, UnavailableError
from device_profiler.files import cache_folder, write_atomic
from device_profiler.measurement import DeviceIdentity
from device_profiler.standing import phone_key
from device_profiler.transport import ShellResult, Transport

PHONE_LEASE = "/data/local/tmp/mess-deploy.lease"
LEASE_S = 900
"""A phone whose holder vanished with its host is free after this time."""
_GRACE_S = 30
_MUTEX_MINUTES = 2
_LOOKS, _LOOK_S = 5, 0.05
_UP = "{ read up rest < /proc/uptime; } 2>/dev/null || up=$(date +%s); up=${up%%.*}"
_READ_TOKEN = f"token=; {{ read token rest < {PHONE_LEASE}/holder; }} 2>/dev/null"


class Holder(msgspec.Struct, frozen=True):
    """Who has a phone. `host`: the identity of the host's cache, not its name. `expires`: uptime of the phone [s]."""

    token: str
    host: str
    who: str
    expires: int = 0


class BusyError(UnavailableError):
    """Somebody else has the phone."""


class LeaseLostError(UnavailableError):
    """The lease ran out, and somebody else took the phone: what was measured meanwhile is not to be used."""


@dataclass
class Lease:
    """A phone that is ours. `shared`: the lock is another process's, which gave us its token."""

    key: str
    holder: Holder
    shared: bool
    _lock: IO[str] | None
    _renewed: float = field(default_factory=time.monotonic)

    @property
    def token(self) -> str:
        """What a process that works for this one hands to `take`."""
        return self.holder.token

    def renew_if_due(self, transport: Transport) -> None:
        """Renew the phone's part when a third of its time is over.

        Raises:
            LeaseLostError: somebody else holds the phone by now.
        """
        if time.monotonic() - self._renewed < LEASE_S / 3:
            return
        _take_on_phone(transport, self.holder, renewing=True)
        self._renewed = time.monotonic()

    def release(self, transport: Transport) -> None:
        """Give the phone back; a phone that is away is freed by its clock."""
        if self.shared:
            return
        try:
            transport.shell(_release_script(self.token), timeout_s=10.0)
        except DeviceError:
            pass
        finally:
            if self._lock:
                self._lock.close()
                self._lock = None


@dataclass
class LeasedTransport:
    """A transport whose every call first sees to it that the lease still stands. See `Transport`."""

    inner: Transport
    lease: Lease

    @property
    def address(self) -> str:
        return self.inner.address

    @address.setter
    def address(self, value: str) -> None:
        self.inner.address = value

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def shell(self, command: str, *, timeout_s: float = 30.0) -> ShellResult:
        """See `Transport`."""
        self.lease.renew_if_due(self.inner)
        return self.inner.shell(command, timeout_s=timeout_s)

    def push(self, local: Path, remote: str, *, timeout_s: float = 120.0) -> bool:
        """See `Transport`."""
        self.lease.renew_if_due(self.inner)
        return self.inner.push(local, remote, timeout_s=timeout_s)

    def pull(self, remote: str, local: Path, *, timeout_s: float = 120.0) -> None:
        """See `Transport`."""
        self.lease.renew_if_due(self.inner)
        self.inner.pull(remote, local, timeout_s=timeout_s)

    def close(self) -> None:
        """Close the connection; the lease stands."""
        self.inner.close()


def take(transport: Transport, identity: DeviceIdentity, *, token: str | None = None) -> Lease:
    """Take the phone, or share the lease whose `token` its holder gave us. A new lease takes `token` as its own.

    Raises:
        BusyError: somebody else has it; says who.
        DeviceError: the phone can't keep a lease (its storage is full), or went away.
    """
    key = phone_key(identity)
    holder = Holder(token or secrets.token_hex(8), _host(), _who())
    lock = _lock(key)
    if lock is None:
        known = holder_on_host(key)
        if known and token == known.token:
            return Lease(key, known, True, None)
        raise _busy(transport.address, known)
    try:
        _take_on_phone(transport, holder)
        write_atomic(_record(key), msgspec.json.encode(holder))
    except BaseException:
        lock.close()
        raise
    return Lease(key, holder, False, lock)


def _lock(key: str) -> IO[str] | None:
    """The lock on this host, or None where another process has it (one that only looks has it for a moment)."""
    lock = (cache_folder("leases") / f"{key}.lock").open("w")
    for _ in range(_LOOKS):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock
        except BlockingIOError:
            time.sleep(_LOOK_S)
    lock.close()
    return None


def holder_on_host(key: str) -> Holder | None:
    """Who on this host has the phone, or None."""
    with (cache_folder("leases") / f"{key}.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return None
        except BlockingIOError:
            pass
    try:
        return msgspec.json.decode(_record(key).read_bytes(), type=Holder)
    except (OSError, msgspec.DecodeError):
        return Holder("", _host(), "a process that is just taking it")


def holder_elsewhere(transport: Transport) -> Holder | None:
    """Who on another host has the phone by the phone's own record, or None."""
    known, up = _read_on_phone(transport)
    return known if known and known.host != _host() and not _is_over(known, up) else None


def _take_on_phone(transport: Transport, holder: Holder, *, renewing: bool = False) -> None:
    """The phone's part. A record of this host's is a dead process's: the lock on this host is ours."""
    if not renewing and _try(transport, holder, f"mkdir {PHONE_LEASE} 2>/dev/null"):
        return
    known, up = _read_on_phone(transport)
    if known is None and transport.shell(f"[ -d {PHONE_LEASE} ]").exit_code != 0:
        if _try(transport, holder, f"mkdir {PHONE_LEASE}"):  # it was given back meanwhile
            return
        raise DeviceError(f"{transport.address} can't keep a lease: {PHONE_LEASE} can't be made; see whether its "
                          "storage is full")
    if known is None:
        known = Holder("none", "", "a host that is just taking it", expires=up + LEASE_S)
        free = f"[ ! -e {PHONE_LEASE}/holder ] && mkdir -p {PHONE_LEASE}"
        allowed = renewing or _is_left_half_taken(transport)
    else:
        free = f'{{ {_READ_TOKEN}; [ "$token" = {known.token} ]; }}'
        allowed = known.token == holder.token or (not renewing and known.host == holder.host) or _is_over(known, up)
    alone, over = _mutex(known.token), f"rmdir {_mutex_name(known.token)}"
    if allowed and _try(transport, holder, f"{alone} && {{ {free} || {{ {over}; false; }}; }}", after=over):
        return
    if renewing:
        raise LeaseLostError(f"{transport.address} was taken by {known.who} while it was held here: what was measured "
                             "meanwhile is not to be used; run it again")
    raise _busy(transport.address, known)


def _try(transport: Transport, holder: Holder, condition: str, after: str = "true") -> bool:
    """Write `holder` into the phone's record if `condition` holds there, in one command that a hang-up can't cut."""
    line = f"{holder.token} {holder.host} $((up+{LEASE_S})) {holder.who}"
    partial = f"{PHONE_LEASE}/{holder.token}.partial"
    result = transport.shell(
        f"trap '' HUP; {_UP}; if {condition}; then "
        f'echo "{line}" > {partial} && mv -f {partial} {PHONE_LEASE}/holder && echo lease taken; {after}; '
        f"else echo lease refused; fi", timeout_s=30.0)
    if "lease taken" in result.output:
        return True
    if "lease refused" in result.output:
        return False
    raise DeviceError(f"{transport.address} can't keep a lease: {result.output.strip()[-200:] or 'no answer'}; see "
                      "whether its storage is full")


def _read_on_phone(transport: Transport) -> tuple[Holder | None, int]:
    """The phone's record, and its uptime [s]."""
    result = transport.shell(f'{_UP}; echo "$up"; cat {PHONE_LEASE}/holder 2>/dev/null; true')
    up, _, line = result.output.strip().partition("\n")
    words = line.split(" ", 3)
    if not up.isdigit():
        raise DeviceError(f"{transport.address} tells no uptime, by which leases are kept (/proc/uptime, date): "
                          f"{result.output.strip()[:100]!r}; restart the phone, then try again")
    if len(words) < 4 or not words[2].isdigit():
        return None, int(up)
    return Holder(words[0], words[1], words[3], int(words[2])), int(up)


def _is_over(known: Holder, up: int) -> bool:
    """It ran out (with some grace for a renewal on its way), or the phone was started anew since."""
    return up > known.expires + _GRACE_S or known.expires > up + LEASE_S


def _is_left_half_taken(transport: Transport) -> bool:
    """The folder is there for minutes without its holder's name: whoever made it is gone."""
    return bool(transport.shell(f"find {PHONE_LEASE} -prune -mmin +{_MUTEX_MINUTES} 2>/dev/null").output.strip())


def _mutex_name(token: str) -> str:
    return f"{PHONE_LEASE}.after-{token}"


def _mutex(token: str) -> str:
    """Only one host ends a given lease: whoever makes this folder. One that was left for minutes is not in the way."""
    name = _mutex_name(token)
    old = f"find {name} -prune -mmin +{_MUTEX_MINUTES} 2>/dev/null"
    return f'{{ [ -z "$({old})" ] || rmdir {name}; mkdir {name}; }} 2>/dev/null'


def _release_script(token: str) -> str:
    return f'{_READ_TOKEN}; [ "$token" != {token} ] || rm -rf {PHONE_LEASE}'


def _busy(address: str, holder: Holder | None) -> BusyError:
    who = holder.who if holder else "somebody who just let it go"
    return BusyError(f"{address} is busy: {who} has it; wait for it, or choose another --device (see `devices`)")


def _record(key: str) -> Path:
    return cache_folder("leases") / f"{key}.json"


def _host() -> str:
    """Identity of this host's cache: processes that share it see each other's locks."""
    file = cache_folder("leases") / "host"
    if not file.exists():
        write_atomic(file, secrets.token_hex(8))
    return file.read_text().strip()


def _who() -> str:
    """The holder as others read it; one line, plain characters only, for it passes through the phone's shell."""
    program = Path(sys.argv[0])
    name = program.parent.name if program.name == "__main__.py" else program.name
    text = f"process {os.getpid()} of {_user()} on {socket.gethostname()} ({' '.join([name, *sys.argv[1:2]])})"
    return "".join(c for c in text if c.isascii() and (c.isalnum() or c in " .@()_-/:"))


def _user() -> str:
    return os.environ.get("USER") or f"user {os.getuid()}"
