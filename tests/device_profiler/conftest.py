"""Fixtures of the device tests: one real emulated phone for the whole session, and transports to it."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

from device_profiler import debian
from device_profiler.emulator.phone import start_phone, stop_phone
from device_profiler.emulator.registry import EmulatedPhone, list_phones
from device_profiler.files import cache_folder, sha256_bytes
from device_profiler.transport import Transport, connect


@pytest.fixture(scope="session")
def phone() -> Iterator[EmulatedPhone]:
    """One emulated Pixel 7 in the form that this machine runs best; removed at the end."""
    if not debian.available():
        pytest.skip("emulated phones are built from Debian packages, which can't be fetched here")
    started = start_phone("pixel7", keep=False)
    yield started
    if started in list_phones():
        stop_phone(started.address)


@pytest.fixture
def transport(phone: EmulatedPhone) -> Iterator[Transport]:
    """A connection to the session's phone."""
    with connect(phone.address) as connected:
        yield connected


@pytest.fixture(scope="session")
def threaded_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A C++17 program that wants the standard library, threads and exceptions; prints "sum 14", then "caught"."""
    source = tmp_path_factory.mktemp("source") / "threaded.cpp"
    source.write_text(
        """
        #include <iostream>
        #include <optional>
        #include <stdexcept>
        #include <thread>
        #include <vector>
        int main() {
            std::vector<std::thread> threads;
            std::vector<int> squares(4);
            for (int i = 0; i < 4; i++) threads.emplace_back([&squares, i] { squares[i] = i * i; });
            std::optional<int> sum = 0;
            for (int i = 0; i < 4; i++) { threads[i].join(); *sum += squares[i]; }
            std::cout << "sum " << *sum << std::endl;
            try { throw std::runtime_error("caught"); }
            catch (const std::exception& e) { std::cout << e.what() << "\\n"; }
        }
        """
    )
    return source


@pytest.fixture(scope="session")
def deployments() -> Path:
    """Folder with the small deployments of make_models.py; made once for each version of what makes them."""
    script = Path(__file__).with_name("make_models.py")
    packages = ("torch", "executorch", "litert-torch", "ai-edge-litert", "ai-edge-quantizer")
    versions = [f"{name} {metadata.version(name)}\n".encode() for name in packages]
    folder = cache_folder("test-deployments") / sha256_bytes(script.read_bytes(), *versions)[:16]
    if not folder.is_dir():
        with tempfile.TemporaryDirectory(dir=folder.parent) as partial:
            subprocess.run([sys.executable, script, partial], check=True, capture_output=True, timeout=500,
                           env=os.environ | {"OMP_NUM_THREADS": "1"})
            shutil.copytree(partial, folder, dirs_exist_ok=True)
    return folder
