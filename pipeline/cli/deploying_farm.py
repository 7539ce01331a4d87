"""`deploy --farm`: one phone of a farm does all that a deployment asks of a phone; where it is lost, another one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.cli.farm_place import open_farm
from pipeline.farm.jobs import PhoneLostError

if TYPE_CHECKING:
    from pipeline.deployment import Deployment, DeployRequest
    from pipeline.phone_work import PhoneWork
    from pipeline.workspace import Workspace

PHONES = 3


def deploy_on_farm(
    request: DeployRequest, workspace: Workspace, address: str, credentials: Path | None
) -> Deployment:
    """Deploy; with a phone that is lost only what it measured begins again, as all else is kept.

    Raises:
        DeviceError: so many phones in a row were lost, or the farm was.
        PipelineError: as `pipeline.deploying.deploy`, and as `open_farm`.
    """
    from pipeline.deploying import deploy

    @contextmanager
    def phone_there(request: DeployRequest) -> Iterator[PhoneWork]:
        with open_farm(address, credentials) as farm:
            from pipeline.farm.phone import FarmPhone

            yield FarmPhone.take(farm, request.target, require_device=request.require_device, store=request.store,
                                 note=workspace.progress.note)

    for _ in range(PHONES - 1):
        try:
            return deploy(request, workspace, phone_there)
        except PhoneLostError as error:
            workspace.progress.note(f"{error}; going on with another phone of the farm")
    return deploy(request, workspace, phone_there)
