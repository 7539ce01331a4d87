"""`profile --farm`: the parts are measured by a host that has a phone of the target."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from device_profiler.targets import Target
    from pipeline.farm.client import Farm
    from pipeline.network import Network
    from pipeline.profiling import Profile


def profile_on_farm(arguments: argparse.Namespace, target: Target) -> int:
    """Send the job, follow it, tell what it measured as `profile` does; 0.

    Raises:
        PipelineError: what ended it, as if it had happened here.
    """
    from pipeline.cli.farm_place import farm_store, open_farm, refuse_local_choices
    from pipeline.cli.network import network_request, open_workspace, quiet_vendors

    refuse_local_choices(arguments, "device", "devices", "tool", "sustained")
    store = farm_store(arguments.store)
    quiet_vendors(arguments.verbose)
    with open_farm(arguments.farm, arguments.credentials) as farm:
        real = farm.prefers_real(target, required=arguments.require_device)
        farm.check_offered(target, real=real)
        request, workspace = network_request(arguments), open_workspace(arguments, target.name)
        from device_profiler.prediction import load_model
        from pipeline.cli.output import warn
        from pipeline.cli.profiling import tell_profile
        from pipeline.farm.client import emulated_only
        from pipeline.network import prepare_network

        if not real:
            warn(emulated_only(target))
        network = prepare_network(request, workspace)
        with workspace.progress.task("profiling parts on the farm", 1) as advance:
            profile = _measured(farm, arguments, network, target, store, real)
            advance(1, "")
    model = load_model(target.device_model) if target.device_model else None
    return tell_profile(network, profile, target, model, workspace, arguments.json)


def _measured(
    farm: Farm, arguments: argparse.Namespace, network: Network, target: Target, store: str | None, real: bool
) -> Profile:
    """Every part, on a phone of the farm.

    Raises:
        PipelineError: what ended it there.
    """
    import msgspec

    from pipeline.cli.output import say, warn
    from pipeline.farm.kinds import PROFILE, make_job, profile_request
    from pipeline.profiling import Profile

    request = profile_request(network.spec, network.policy, allow_fallback=arguments.allow_fallback)
    job = make_job(PROFILE, target.name, request)
    end = farm.run(msgspec.structs.replace(job, store=store, real=real), warn)
    if end.outcome != "done":
        raise end.as_error()
    say(f"measured on {end.phone} of {end.host}")
    return msgspec.json.decode(end.result, type=Profile)
