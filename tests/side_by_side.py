"""Two pytest workers beside each other (pytest-xdist): a cache of its own each, and the longest files first."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from xdist.scheduler import LoadFileScheduling

from device_profiler.files import cache_folder
from tests.deployments import DOWNLOADS

DEPLOYMENTS = ("tests/pipeline/test_deploy_end_to_end.py", "tests/pipeline/test_report_of_a_run.py")
"""Files that look at the same deployments: one worker takes both."""
LONGEST = (
    *DEPLOYMENTS,
    "tests/contracts/test_exporters.py",
    "tests/farm/test_farm_processes.py",
    "tests/mobile_export/test_reference_cpp.py",
)
"""Files of minutes, which should not begin when the other worker has nothing left to do."""


def own_cache() -> None:
    """Phones, leases and results of this process's tests in a cache of its own, packages and builds shared."""
    links = {name: cache_folder(name) for name in (*DOWNLOADS, "test-deployments")}
    folder = Path(tempfile.mkdtemp(prefix="cache-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["XDG_CACHE_HOME"] = str(folder)
    for name, target in links.items():
        (cache_folder() / name).symlink_to(target)


class FileScheduling(LoadFileScheduling):  # type: ignore[misc]  # no types
    """One worker takes all of a file, or of the files of `DEPLOYMENTS`."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return DEPLOYMENTS[0] if file in DEPLOYMENTS else file


def longest_first(items: list[pytest.Item]) -> None:
    """Order `items`: the files of `LONGEST`, then the others as they come."""
    items.sort(key=lambda item: LONGEST.index(file_of(item)) if file_of(item) in LONGEST else len(LONGEST))


def file_of(item: pytest.Item) -> str:
    """The path in front of its node id."""
    return item.nodeid.partition("::")[0]
