"""The farm's credential: a certificate and its key, the same on every host. Who holds them may run programs there."""

import datetime
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from device_profiler.errors import InputError
from device_profiler.files import APPLICATION

CERTIFICATE, KEY = "farm.crt", "farm.key"
VALID_DAYS = 730
MAKE = "`python -m pipeline farm credentials FOLDER` makes them, once for the whole farm"


@dataclass(frozen=True)
class Credentials:
    """Files in PEM. The certificate is its own authority: it is what every host accepts from the others."""

    certificate: Path
    key: Path


def default_folder() -> Path:
    """Where credentials are looked for when no folder is given."""
    return Path(platformdirs.user_config_dir(APPLICATION)) / "farm"


def find_credentials(folder: Path | None, *, loopback: bool) -> Credentials | None:
    """Those in `folder`, else the user's; None where there are none and nothing leaves this machine.

    Raises:
        InputError: none, although other machines are asked; half of them, expired, or readable by others.
    """
    place = folder or default_folder()
    found = Credentials(place / CERTIFICATE, place / KEY)
    missing = [path.name for path in (found.certificate, found.key) if not path.is_file()]
    if folder is None and len(missing) == 2:
        if loopback:
            return None
        raise InputError(f"beyond this machine a farm wants credentials, and {place} has none: {MAKE}; then copy the "
                         "folder there on every host, or name it with --credentials")
    if missing:
        raise InputError(f"{place} lacks {' and '.join(missing)}: {MAKE}")
    _check(found)
    return found


def _check(found: Credentials) -> None:
    if found.key.stat().st_mode & 0o077:
        raise InputError(f"{found.key} can be read by others, who could run programs as you: chmod 600 {found.key}")
    from cryptography import x509

    try:
        ends = x509.load_pem_x509_certificate(found.certificate.read_bytes()).not_valid_after_utc
    except ValueError as error:
        raise InputError(f"{found.certificate} is no certificate: {MAKE}") from error
    if ends < datetime.datetime.now(datetime.UTC):
        raise InputError(f"{found.certificate} expired on {ends:%Y-%m-%d}: {MAKE}")


def make_credentials(folder: Path) -> Credentials:
    """New credentials in `folder`; the key is the owner's alone to read.

    Raises:
        InputError: the folder holds some already, or can't be written.
    """
    made = Credentials(folder / CERTIFICATE, folder / KEY)
    if there := [str(path) for path in (made.certificate, made.key) if path.exists()]:
        raise InputError(f"{there[0]} is there already: hosts that use it would be shut out; name another folder, or "
                         "remove it first")
    certificate, key = _new_pair()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        made.key.touch(mode=0o600, exist_ok=False)
        made.key.write_bytes(key)
        made.certificate.write_bytes(certificate)
    except OSError as error:
        raise InputError(f"credentials can't be written to {folder}: {error.strerror}; name another folder") from error
    return made


def _new_pair() -> tuple[bytes, bytes]:
    """A self-signed certificate and its key (elliptic curve P-256), in PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{APPLICATION} farm")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=VALID_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    plain, pkcs8 = serialization.NoEncryption(), serialization.PrivateFormat.PKCS8
    return (certificate.public_bytes(serialization.Encoding.PEM),
            key.private_bytes(serialization.Encoding.PEM, pkcs8, plain))
