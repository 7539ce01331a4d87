"""The commands as typed functions (`from pipeline import deploy`): keyword arguments are the flags, results are frozen.

Every function runs its command: the same checks, defaults, cache and run folder; None leaves an option at the command's
default. Progress and warnings go to stderr. Bad input raises `device_profiler.errors.InputError`, no feasible
configuration InfeasibleError, a phone that fails DeviceError, a failed check VerificationError: the text is the one
that the command line shows.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, cast

from device_profiler.errors import InputError
from pipeline.api_calls import command
from pipeline.api_options import (
    DeployOptions,
    File,
    InputForm,
    Preset,
    ProfileOptions,
    RiskMethod,
    Setting,
    Split,
    TrainOptions,
)
from pipeline.api_results import (
    Deployed,
    DeployedFleet,
    Exported,
    Found,
    Profiled,
    ProfiledPhone,
    Ran,
    Reported,
    Reuse,
    SelfChecked,
    Trained,
    UnfinishedShare,
)

if TYPE_CHECKING:
    from device_profiler.listing import ListedDevice
    from device_profiler.sustained import ThrottlingCurve
    from device_profiler.targets import Target
    from pipeline.evaluation import EvaluationReport
    from pipeline.exact_search.configuration import Front
    from pipeline.health import Check


def deploy(
    target: str,
    *,
    data: str | None = None,
    preset: Preset | None = None,
    backbone: str | None = None,
    size: str | None = None,
    sizes: Sequence[str] = (),
    checkpoint: File | None = None,
    heads: Sequence[str] = (),
    weights: File | None = None,
    policy: str | None = None,
    setting: Setting | None = None,
    max_latency: str | None = None,
    max_worst_latency: str | None = None,
    min_miou: float | None = None,
    max_drop: str | None = None,
    max_cost: float | None = None,
    max_worst_cost: float | None = None,
    deadline: Sequence[str] = (),
    max_exits: int | None = None,
    threshold_grid: int | None = None,
    time_limit: str | None = None,
    risk: float | None = None,
    delta: float | None = None,
    risk_method: RiskMethod | None = None,
    max_int8_drop: str | None = None,
    input: InputForm | None = None,
    frame: str | None = None,
    exit_margin: float | None = None,
    label_frames: int | None = None,
    device: str | None = None,
    require_device: bool = False,
    store: str | None = None,
    farm: str | None = None,
    credentials: File | None = None,
    run: File | None = None,
    config: File | None = None,
    verbose: bool = False,
) -> Deployed:
    """The whole way: train, profile, search, export, verify. Durations ('30ms') and points ('1pp') carry their unit."""
    emitted = command("deploy", locals())
    result = cast(dict[str, Any], emitted.result)
    import msgspec

    from mobile_export.manifest import Manifest

    manifest = msgspec.convert({k: v for k, v in result.items() if k not in ("run", "reused")}, Manifest)
    return Deployed(Path(result["run"]), manifest, _reused(result), "\n".join(emitted.lines))


def deploy_fleet(targets: Sequence[str], **options: Unpack[DeployOptions]) -> DeployedFleet:
    """A bundle for every target from one checkpoint (`deploy --fleet`), and their index by SoC.

    A target that fails is told in `index.failed` and costs the others nothing; what stops all of them is raised.
    """
    emitted = command("deploy", {**options, "target": tuple(targets), "fleet": True})
    result = cast(dict[str, Any], emitted.result)
    import msgspec

    from pipeline.fleet.index import BundleIndex

    comparison, pack = (Path(result[name]) if result[name] else None for name in ("comparison", "ai_pack"))
    reused = {name: tuple(Reuse(**row) for row in rows) for name, rows in result["reused"].items()}
    index = msgspec.convert(result, BundleIndex)
    return DeployedFleet(Path(result["run"]), index, comparison, pack, reused, "\n".join(emitted.lines))


def train(
    *,
    data: str | None = None,
    preset: Preset | None = None,
    backbone: str | None = None,
    size: str | None = None,
    checkpoint: File | None = None,
    heads: Sequence[str] = (),
    weights: File | None = None,
    policy: str | None = None,
    tensorboard: bool = False,
    run: File | None = None,
    config: File | None = None,
    verbose: bool = False,
) -> Trained:
    """Both stages of training, to a checkpoint; a broken-off training goes on where it was."""
    return _trained(_result("train", locals()))


def train_share(share: str, together: File, **options: Unpack[TrainOptions]) -> Trained | UnfinishedShare:
    """One machine's share of a training (`train --share`): 'backbone' first, then one of N groups of heads, as '2/4'.

    `together`: the folder that all of these machines see. `options`: the keywords of `train`. The last share to end
    gives the checkpoint.
    """
    result = _result("train", {"share": share, "together": together, **options})
    if result["checkpoint"] is None:
        return UnfinishedShare(result["share"], tuple(result["missing"]))
    return _trained(result)


def _trained(result: Mapping[str, Any]) -> Trained:
    return Trained(
        Path(result["checkpoint"]), result["weights_sha256"], result["spec"], result["training"], _reused(result)
    )


def evaluate(
    checkpoint: File,
    *,
    data: str | None = None,
    preset: Preset | None = None,
    backbone: str | None = None,
    size: str | None = None,
    policy: Sequence[str] = (),
    split: Split | None = None,
    farm: str | None = None,
    credentials: File | None = None,
    run: File | None = None,
    config: File | None = None,
    verbose: bool = False,
) -> "EvaluationReport":
    """Accuracy and multiply-adds of every exit and head; statistics.npz in the run folder."""
    return cast("EvaluationReport", command("evaluate", locals()).result)


def profile(
    target: str,
    *,
    data: str | None = None,
    preset: Preset | None = None,
    backbone: str | None = None,
    size: str | None = None,
    checkpoint: File | None = None,
    heads: Sequence[str] = (),
    weights: File | None = None,
    policy: str | None = None,
    device: str | None = None,
    require_device: bool = False,
    tool: str | None = None,
    allow_fallback: bool = False,
    store: str | None = None,
    farm: str | None = None,
    credentials: File | None = None,
    run: File | None = None,
    config: File | None = None,
    verbose: bool = False,
) -> Profiled:
    """Latency of every part of a network on a phone; latency.json in the run folder. Needs no trained weights."""
    result = _result("profile", locals())
    return Profiled(
        Path(result["latency"]), result["provenance"], result["measured"], result["parts"], tuple(result["reused"])
    )


def profile_phones(
    target: str, devices: Sequence[str] = (), **options: Unpack[ProfileOptions]
) -> tuple[ProfiledPhone, ...]:
    """The same on several phones at once: those at these addresses, or (none given) every one at hand that matches.

    `options`: the other keywords of `profile`. A phone that fails is an outcome, not an exception.
    """
    phones = {"device": tuple(devices)} if len(devices) > 1 else {"devices": "all"}
    if len(devices) == 1:
        raise InputError(f"profile_phones wants several phones or none (every one at hand), not {devices[0]!r} alone: "
                         "that is profile(..., device=...)")
    rows = cast("Mapping[str, Any]", command("profile", {"target": target, **options, **phones}).result)["phones"]
    return tuple(_profiled_phone(row) for row in rows)


def _profiled_phone(row: Mapping[str, Any]) -> ProfiledPhone:
    told = (row["address"], row["model"], row["outcome"], row["attempts"], row["error"])
    if row["outcome"] != "done":
        return ProfiledPhone(*told, None)
    parts, reused = row["parts"], tuple(row["reused"])
    return ProfiledPhone(*told, Profiled(Path(row["latency"]), row["provenance"], row["measured"], parts, reused))


def sustain(
    target: str, span: str, *, part: str | None = None, **options: Unpack[ProfileOptions]
) -> "ThrottlingCurve":
    """One part without a pause for so long ('20min'), from a cool phone on: `profile --sustained`.

    `part`: its entry name, by default the one with most work. `options`: the other keywords of `profile`.
    """
    given = {"target": target, "sustained": span, "part": part, **options}
    return cast("ThrottlingCurve", _result("profile", given)["curve"])


def search(
    *,
    statistics: File | None = None,
    latency: File | None = None,
    setting: Setting | None = None,
    max_latency: str | None = None,
    max_worst_latency: str | None = None,
    min_miou: float | None = None,
    max_drop: str | None = None,
    max_cost: float | None = None,
    max_worst_cost: float | None = None,
    deadline: Sequence[str] = (),
    max_exits: int | None = None,
    threshold_grid: int | None = None,
    time_limit: str | None = None,
    risk: float | None = None,
    delta: float | None = None,
    risk_method: RiskMethod | None = None,
    certify: File | None = None,
    run: File | None = None,
    config: File | None = None,
    verbose: bool = False,
) -> Found:
    """The best configuration, from statistics.npz and latency.json alone (given, or those of the folder `run`)."""
    import msgspec

    from pipeline.exact_search.configuration import Configuration

    result = _result("search", locals())
    configuration = msgspec.convert(result["configuration"], Configuration)
    certificate = _certificate(result.get("certificate"))
    rates = tuple(result["exit_rates"])
    return Found(**{**result, "configuration": configuration, "exit_rates": rates, "certificate": certificate})


def front(
    *,
    statistics: File | None = None,
    latency: File | None = None,
    setting: Setting | None = None,
    max_latency: str | None = None,
    max_worst_latency: str | None = None,
    deadline: Sequence[str] = (),
    max_exits: int | None = None,
    threshold_grid: int | None = None,
    time_limit: str | None = None,
    run: File | None = None,
    config: File | None = None,
    verbose: bool = False,
) -> "Front":
    """Every Pareto point of one setting: `search --front`."""
    return cast("Front", command("search", {**locals(), "front": True}).result)


def export(
    target: str,
    checkpoint: File,
    *,
    exits: Sequence[int],
    heads: Sequence[str],
    thresholds: Sequence[float] = (),
    policy: str | None = None,
    data: str | None = None,
    preset: Preset | None = None,
    backbone: str | None = None,
    size: str | None = None,
    max_int8_drop: str | None = None,
    run: File | None = None,
    config: File | None = None,
    verbose: bool = False,
) -> Exported:
    """One configuration of a checkpoint as a file for the target, held against eager PyTorch on real images."""
    options = {**locals(), "exits": tuple(exits), "heads": tuple(heads), "thresholds": tuple(map(repr, thresholds))}
    result = _result("export", options)
    return Exported(Path(result["folder"]), result["artifact"], result["plan"])


def run(
    bundle: File, image: File, *, output: File | None = None, deadline: str | None = None, verbose: bool = False
) -> Ran:
    """A deployed bundle on one image, on this machine: the mask as a PNG file, the exit, the confidences.

    `deadline`: a duration ('20ms'), the best answer by then.
    """
    result = _result("run", locals())
    paths = {name: Path(result[name]) for name in ("bundle", "image", "mask")}
    rows = {name: tuple(result[name]) for name in ("confidences", "thresholds")}
    return Ran(**{**result, **paths, **rows})


def self_check(bundle: File, *, device: str | None = None, verbose: bool = False) -> SelfChecked:
    """A bundle's sample to every exit, here or on the phone `device`, against the answers that came with it."""
    result = _result("run", {**locals(), "self_check": True})
    return SelfChecked(Path(result["bundle"]), result["on"], tuple(result["lines"]))


def report(run: File | None = None, *, output: File | None = None, verbose: bool = False) -> Reported:
    """report.html of a run (without one: of the run that reported last), made again from its report.json."""
    result = _result("report", locals())
    return Reported(Path(result["report"]), (Path(result["run"]),))


def compare(*runs: File, output: File | None = None, verbose: bool = False) -> Reported:
    """One page with several runs side by side: `report --compare`."""
    result = _result("report", {"compare": runs, "output": output, "verbose": verbose})
    return Reported(Path(result["report"]), tuple(map(Path, result["runs"])))


def devices() -> tuple["ListedDevice", ...]:
    """The phones that can be reached, with their state."""
    return tuple(_result("devices", {})["devices"])


def targets() -> tuple["Target", ...]:
    """What a deployment can be made for."""
    return tuple(_result("targets", {})["targets"])


def doctor(*, prepare: bool = False) -> tuple["Check", ...]:
    """What works on this machine, what is missing, and the command that mends it."""
    return tuple(_result("doctor", locals())["checks"])


def _result(verb: str, options: Mapping[str, object]) -> dict[str, Any]:
    return dict(cast(Mapping[str, Any], command(verb, options).result))


def _reused(result: Mapping[str, Any]) -> tuple[Reuse, ...]:
    return tuple(Reuse(**row) for row in result["reused"])


def _certificate(content: object) -> Any:
    if content is None:
        return None
    import msgspec

    from mobile_export.manifest import Certificate

    return msgspec.convert(content, Certificate)
