"""What a farm refuses before anything is started: addresses, credentials, options that contradict it."""

import datetime
from pathlib import Path

import pytest

from device_profiler.errors import DeviceError, InputError, InvalidMeasurementError, UnavailableError
from pipeline.__main__ import run
from pipeline.farm.address import parse_address
from pipeline.farm.credentials import Credentials, find_credentials, make_credentials
from pipeline.farm.jobs import ended_by
from pipeline.farm.versions import check_versions, versions_here


@pytest.mark.parametrize(
    ("text", "host", "port", "loopback"),
    [("lab", "lab", 8786, False), ("127.0.0.1:99", "127.0.0.1", 99, True), ("localhost:0", "localhost", 0, True),
     ("10.0.0.7", "10.0.0.7", 8786, False), ("127.1.2.3", "127.1.2.3", 8786, True)],
)
def test_addresses(text: str, host: str, port: int, loopback: bool) -> None:
    found = parse_address(text)
    assert (found.host, found.port, found.loopback) == (host, port, loopback)


@pytest.mark.parametrize("text", ["", "lab:", "lab:70000", "tcp://lab:1", "lab:1:2", "a b"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(InputError, match="is no address of a farm: write HOST or HOST:PORT"):
        parse_address(text)


@pytest.fixture
def made(tmp_path: Path) -> Credentials:
    return make_credentials(tmp_path / "farm")


def test_credentials_are_found_where_they_were_made_and_the_key_is_private(made: Credentials) -> None:
    assert find_credentials(made.key.parent, loopback=False) == made
    assert made.key.stat().st_mode & 0o777 == 0o600
    assert made.key.parent.stat().st_mode & 0o077 == 0


def test_credentials_are_not_made_twice(made: Credentials) -> None:
    before = made.key.read_bytes()
    with pytest.raises(InputError, match=r"farm\.crt is there already"):
        make_credentials(made.key.parent)
    assert made.key.read_bytes() == before


def test_credentials_that_can_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"can't be written to .*name another folder"):
        make_credentials(tmp_path / "file" / "farm")


def test_a_key_that_others_can_read_is_refused(made: Credentials) -> None:
    made.key.chmod(0o640)
    with pytest.raises(InputError, match=r"farm\.key can be read by others.*chmod 600"):
        find_credentials(made.key.parent, loopback=True)


def test_half_of_the_credentials_is_refused(made: Credentials) -> None:
    made.certificate.unlink()
    with pytest.raises(InputError, match=r"lacks farm\.crt: .*farm credentials FOLDER"):
        find_credentials(made.key.parent, loopback=True)


def test_what_is_no_certificate_is_refused(made: Credentials) -> None:
    made.certificate.write_text("hello")
    with pytest.raises(InputError, match=r"farm\.crt is no certificate"):
        find_credentials(made.key.parent, loopback=True)


def test_an_expired_certificate_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.farm import credentials

    monkeypatch.setattr(credentials, "VALID_DAYS", -0.5)
    made = make_credentials(tmp_path / "old")
    day = (datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=0.5)).date()
    with pytest.raises(InputError, match=rf"farm\.crt expired on {day}"):
        find_credentials(made.key.parent, loopback=True)


def test_without_credentials_nothing_leaves_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert find_credentials(None, loopback=True) is None
    with pytest.raises(InputError, match="beyond this machine a farm wants credentials"):
        find_credentials(None, loopback=False)
    made = make_credentials(tmp_path / "mess-deploy" / "farm")
    assert find_credentials(None, loopback=False) == made == find_credentials(None, loopback=True)


def test_what_differs_between_hosts_is_told() -> None:
    here = versions_here()
    check_versions(here, dict(here), "the scheduler")
    there = {name: version for name, version in here.items() if name != "torch"} | {"graph code": "0123"}
    with pytest.raises(InputError, match=r"the scheduler runs another version: graph code is 0123 there and \w+ here; "
                                         r"torch is absent there and [\d.+a-z]+ here; install the same"):
        check_versions(here, there, "the scheduler")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("farm", "--json", "status"), "the action comes first: `python -m pipeline farm status`"),
        (("farm", "worker", "--scheduler", "lab.example"), "nothing listens beyond this one unless told to"),
        (("farm", "scheduler", "--listen", "0.0.0.0"), "beyond this machine a farm wants credentials"),
        (("farm", "status", "--scheduler", "lab.example"), "beyond this machine a farm wants credentials"),
        (("profile", "--target", "pixel7-cpu", "--farm", "localhost", "--device", "emulated"),
         "--device is about this machine, --farm about others"),
        (("profile", "--target", "pixel7-cpu", "--farm", "localhost", "--store", "lab.sqlite"),
         "--store lab.sqlite is a file of this machine: with --farm give a database"),
    ],
)
def test_bad_input_of_the_command_line(
    words: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    with pytest.raises(InputError) as raised:
        run(words)
    assert message in str(raised.value)


@pytest.mark.parametrize("error", [InputError("a"), DeviceError("b"), UnavailableError("c"),
                                   InvalidMeasurementError("d")])
def test_an_error_is_the_same_on_both_sides(error: InputError | DeviceError) -> None:
    back = ended_by(error, "alpha", "127.0.0.1:5").as_error()
    assert type(back) is type(error) and back.exit_code == error.exit_code
    assert str(back) == f"{error} (phone 127.0.0.1:5 of host alpha)"


def test_an_engine_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"wants the Python package distributed: pip install 'mess-deploy\[farm\]'"):
        run(["farm", "status"])
