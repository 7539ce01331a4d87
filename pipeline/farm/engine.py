"""How Dask distributed is set up for a farm: its settings, TLS, and a look at who answers before joining."""

import logging
import socket
import ssl

import dask
from distributed import Security

from device_profiler.errors import DeviceError, InputError
from device_profiler.files import cache_folder
from pipeline.farm.address import Address
from pipeline.farm.credentials import MAKE, Credentials

LOOK_S = 10.0
SILENT_HOST_S = 60
DEATHS = 10
_SETTINGS = {
    # A host that was cut off is given up after this time: its jobs begin elsewhere.
    "distributed.scheduler.worker-ttl": f"{SILENT_HOST_S}s",
    # Leaving phones count as deaths; a job that kills its process does not kill the worker.
    "distributed.scheduler.allowed-failures": DEATHS,
    "distributed.scheduler.active-memory-manager.start": False,
    "distributed.scheduler.http.routes": ["distributed.http.health", "distributed.http.scheduler.info"],
    "distributed.worker.http.routes": ["distributed.http.health"],
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": False,
    "distributed.worker.profile.enabled": False,
    "distributed.comm.timeouts.connect": "10s",
    # Longer than a busy scheduler keeps silent: hosts that are cut off are told by their heartbeats.
    "distributed.comm.timeouts.tcp": "90s",
    "distributed.admin.system-monitor.gil.enabled": False,
    # Jobs carry the files that they are about.
    "distributed.admin.large-graph-warning-threshold": "1GB",
}


def set_up() -> None:
    """Dask's settings in this process; what it logs (each of its modules at a level of its own) is not for users."""
    dask.config.set(_SETTINGS)
    for name in [name for name in logging.root.manager.loggerDict if name.split(".")[0] == "distributed"]:
        logging.getLogger(name).setLevel(logging.CRITICAL)


def scratch() -> str:
    """Where Dask keeps its lock files."""
    return str(cache_folder("farm"))


def security(credentials: Credentials | None) -> Security:
    """Both sides of every connection show the farm's certificate; without credentials all is plain."""
    if credentials is None:
        return Security(require_encryption=False)
    certificate, key = str(credentials.certificate), str(credentials.key)
    return Security(
        require_encryption=True, tls_ca_file=certificate,
        tls_client_cert=certificate, tls_client_key=key, tls_scheduler_cert=certificate, tls_scheduler_key=key,
        tls_worker_cert=certificate, tls_worker_key=key,
    )


def protocol(credentials: Credentials | None) -> str:
    """The scheme of Dask's addresses."""
    return "tls" if credentials else "tcp"


def check_reached(address: Address, credentials: Credentials | None) -> None:
    """Is there a scheduler at `address`, and does it take these credentials?

    Raises:
        DeviceError: nobody answers.
        InputError: it wants credentials, wants others, or has none.
    """
    try:
        plain = socket.create_connection((address.host, address.port), timeout=LOOK_S)
    except OSError as error:
        raise DeviceError(f"no farm answers at {address} ({error.strerror or error}): start one there by `python -m "
                          "pipeline farm scheduler`, or see whether address and firewall are right") from error
    with plain:
        if credentials:
            _check_certificate(plain, address, credentials)
        else:
            _check_plain(plain, address)


def _check_certificate(plain: socket.socket, address: Address, credentials: Credentials) -> None:
    """The other side refuses our certificate only after the handshake: its first words tell."""
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(credentials.certificate))
    context.check_hostname = False
    folder = credentials.certificate.parent
    try:
        context.load_cert_chain(credentials.certificate, credentials.key)
        with context.wrap_socket(plain, server_hostname=address.host) as secured:
            if secured.recv(1):
                return
    except ssl.SSLError as error:
        if error.reason == "WRONG_VERSION_NUMBER":
            raise InputError(f"the farm at {address} runs without credentials, but {folder} has some: start it with "
                             "--credentials, or on another port") from error
    except OSError:
        pass
    raise InputError(f"the farm at {address} turned the credentials of {folder} away: copy those that it runs with")


def _check_plain(plain: socket.socket, address: Address) -> None:
    """A scheduler without credentials speaks first; one with them waits for a handshake."""
    plain.settimeout(LOOK_S / 5)
    try:
        if plain.recv(1):
            return
    except OSError:
        pass
    raise InputError(f"the farm at {address} wants credentials: copy them from its host ({MAKE}) and name their folder "
                     "with --credentials")


