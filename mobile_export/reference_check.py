"""A bundle's C++ reference, built from the bundle's own sources and run on a phone over ADB: its self-check there."""

import secrets
import shlex
import tarfile
import tempfile
from pathlib import Path

from device_profiler.errors import DeviceError, InputError, VerificationError
from device_profiler.runner.build import build_program
from device_profiler.runner.client import DEVICE_FOLDER, push_archive, push_program
from device_profiler.runner.wheels import WHEELS
from device_profiler.transport import Transport
from mobile_export.bundle import GLUE, MANIFEST, SELF_CHECK, Bundle

PROGRAM = "segment"
SELF_CHECK_FAILED = 5
"""Exit code of the C++ reference, see glue/cpp/main.cpp."""
RUN_TIMEOUT_S = 600.0


def check_reference_on_phone(bundle: Bundle, transport: Transport) -> tuple[str, ...]:
    """Build the bundle's C++ reference for the phone, push it with the bundle, and run its self-check there.

    Gives the reference's own lines: one for the exit that the sample takes, one for each exit.

    Raises:
        InputError: the bundle carries no C++ reference, or there is no cross compiler.
        VerificationError: the phone computes something else than was validated.
        DeviceError: the build, the push or the phone failed.
    """
    sources = sorted((bundle.folder / GLUE / "cpp").glob("*.cpp"))
    runtime = bundle.manifest.target.runtime
    if not sources:
        raise InputError(f"bundle {bundle.folder} carries no C++ reference (runtime {runtime}): leave --device out")
    if runtime not in WHEELS:
        raise InputError(f"no wheel has the libraries of runtime {runtime}: build glue/cpp by its CMakeLists.txt")
    program = build_program(PROGRAM, sources, runtime)
    command = program.command(push_program(transport, program))
    folder = f"{DEVICE_FOLDER}/runs/{secrets.token_hex(8)}"
    try:
        with tempfile.TemporaryDirectory() as temporary:
            push_archive(transport, _packed(bundle, Path(temporary) / "bundle.tar"), folder)
        result = transport.shell(_quietly(f"{command} {shlex.quote(folder)}", folder), timeout_s=RUN_TIMEOUT_S)
    finally:
        transport.shell(f"rm -rf {shlex.quote(folder)}")
    said = result.output.strip()
    if result.exit_code == SELF_CHECK_FAILED:
        raise VerificationError(f"{transport.address}: {said.removeprefix('error: ')}")
    if result.exit_code != 0:
        raise DeviceError(f"{transport.address}: the C++ reference ended with code {result.exit_code}: {said[-300:]}")
    return tuple(said.splitlines())


def _quietly(command: str, folder: str) -> str:
    """The command without the runtime's chatter; where it fails, the line that says why, else the end of its words."""
    log = shlex.quote(f"{folder}/log")
    return f"{command} 2>{log}; c=$?; [ $c = 0 ] || grep '^error' {log} || tail -c 300 {log}; exit $c"


def _packed(bundle: Bundle, archive: Path) -> Path:
    """What the reference reads: manifest, model and the self-check's files."""
    with tarfile.open(archive, "w") as tar:
        for name in (MANIFEST, bundle.manifest.artifact.path, SELF_CHECK):
            tar.add(bundle.folder / name, name)
    return archive
