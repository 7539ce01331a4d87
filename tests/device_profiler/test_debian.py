"""Debian packages reach the cache whole, the host stays as it was, and what goes wrong is said in one line."""

import os
import platform
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from device_profiler import debian
from device_profiler.errors import DeviceError, InputError

needs_apt = pytest.mark.skipif(not debian.available(), reason="Debian packages can't be fetched here")


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of this module's own: empty at first, then with the package lists."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


def _host_state() -> dict[str, float]:
    folders = [Path("/var/lib/apt/lists"), Path("/var/lib/dpkg"), Path("/var/cache/apt/archives")]
    return {str(path): path.stat().st_mtime for folder in folders for path in (folder, *folder.glob("*"))}


@needs_apt
def test_a_package_is_unpacked_and_the_host_is_left_alone(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = _host_state()
    tree = debian.fetch(["hello"], dependencies=False)
    assert tree.is_relative_to(cache)
    assert subprocess.run([tree / "usr/bin/hello"], capture_output=True, text=True).stdout == "Hello, world!\n"
    assert not (tree / "lib").exists(), "dependencies were not asked for"
    assert _host_state() == before
    monkeypatch.setenv("PATH", "")
    assert debian.fetch(["hello"], dependencies=False) == tree, "the second time wants neither apt nor the network"


@needs_apt
def test_fetching_at_the_same_time_gives_one_whole_tree(cache: Path) -> None:
    code = "from device_profiler import debian\nprint(debian.fetch(['sl', 'hello'], dependencies=False))"
    command = [sys.executable, "-c", code]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(3)]
    answers = {process.communicate(timeout=300)[0].strip() for process in running}
    assert [process.returncode for process in running] == [0, 0, 0]
    assert len(answers) == 1
    tree = Path(answers.pop())
    assert (tree / "usr/games/sl").exists() and (tree / "usr/bin/hello").exists()
    assert not list(tree.parent.glob(".*")), "nothing half-done stays"


@needs_apt
def test_an_unknown_package_is_named(cache: Path) -> None:
    with pytest.raises(DeviceError, match="no-such-package-here"):
        debian.fetch(["no-such-package-here"], dependencies=False)


@needs_apt
def test_an_unreachable_mirror_is_one_line_and_leaves_nothing_behind(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(debian.MIRROR_VARIABLE, "http://127.0.0.1:9/debian")
    with pytest.raises(DeviceError, match=r"apt-get update failed.*check the network") as caught:
        debian.fetch(["hello"], dependencies=False)
    assert "\n" not in str(caught.value)
    assert not list(empty_cache.rglob("unpacked/*")) and not list(empty_cache.rglob("updated"))


@needs_apt
def test_a_package_that_is_cut_is_named(tmp_path: Path) -> None:
    archive = tmp_path / "hello.deb"
    archive.write_bytes(b"!<arch>")
    with pytest.raises(DeviceError, match=r"hello\.deb can't be unpacked into .*; check the disk, then try again"):
        debian._unpack(archive, tmp_path / "tree")


@needs_apt
def test_a_download_that_hangs_ends_in_time(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv(debian.MIRROR_VARIABLE, f"http://127.0.0.1:{silent.getsockname()[1]}/debian")
        monkeypatch.setattr(debian, "APT_TIMEOUT_S", 2.0)
        with pytest.raises(DeviceError, match="apt-get update took more than 2 s; check the network and try again"):
            debian.fetch(["hello"], dependencies=False)


def test_without_apt_the_message_says_what_works_without_it(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_such_file() -> dict[str, str]:
        raise OSError

    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(platform, "freedesktop_os_release", no_such_file)
    assert not debian.available()
    with pytest.raises(InputError, match=r"no apt-get.*--device SERIAL.*folder:PATH"):
        debian.fetch(["hello"])
