"""A device model fitted to measurements: its assumed parameters move, those with a public source stay.

Least squares on the logarithm of predicted over measured latency (an error of +10 % weighs the same for a short and a
long part), with a soft loss against outliers. Every parameter is also held to its start by a prior of a factor of
PRIOR_FACTOR (one standard deviation): what the measurements say nothing of stays where it was. The error that is told
is that of parts left out: each part is predicted by a model that was fitted without it (cross-validation).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares

from device_profiler.errors import InputError
from device_profiler.measurement import Provenance
from device_profiler.operator_arrays import Floats, OperatorArrays, values_of
from device_profiler.prediction import DeviceModel, Parameter
from device_profiler.store import Store
from device_profiler.workload import Operator

FOLDS, LEAST_FAMILIES = 5, 2
LEAST_PARTS = 10
PRIOR_FACTOR = 3.0
_NOISE = 0.05
"""Share of a latency that a roofline is not expected to explain; sets how much a part weighs against the prior."""
_LEARNED = 0.5
"""A parameter counts as determined where the measurements leave less than this share of the prior's uncertainty."""


@dataclass(frozen=True)
class FitPart:
    """One measured part: its operators in order, and its latency in ns.

    `group`: parts of one group are left out together (such as those of one network).
    """

    operators: tuple[Operator, ...]
    measured_ns: float
    group: str = ""

    @property
    def family(self) -> str:
        """The group, else the operator kinds in order: twins that differ in width must not vouch for each other."""
        return self.group or " ".join(operator.kind for operator in self.operators)


class FittedParameter(msgspec.Struct, frozen=True):
    """What became of one parameter. `determined`: the measurements say it, not the prior."""

    name: str
    before: float
    after: float
    determined: bool


class FitReport(msgspec.Struct, frozen=True):
    """How well a fit predicts parts that it has not seen, as shares (0.1 is 10 %) of the measured latency.

    `median_error`, `worst_tenth`: median and 90th percentile of the error on parts left out; `before_*`: of the model
    before. `parts`: how many there were.
    """

    parts: int
    median_error: float
    worst_tenth: float
    before_median: float
    before_worst_tenth: float
    parameters: tuple[FittedParameter, ...]


def fit(model: DeviceModel, parts: Sequence[FitPart], measured_on: str) -> tuple[DeviceModel, FitReport]:
    """`model` with its assumed parameters fitted to `parts`, and how well that does on parts left out.

    `measured_on` says in the parameters' sources what the measurements were.

    Raises:
        InputError: too few parts to fit and to leave some out.
    """
    if len(parts) < LEAST_PARTS:
        raise InputError(f"{len(parts)} measured parts are too few to fit {model.name}: it takes {LEAST_PARTS} or more "
                         "whose operators are known; measure more by `profile`")
    if len({part.family for part in parts}) < LEAST_FAMILIES:
        raise InputError(f"the {len(parts)} measured parts are too alike to fit {model.name} and to leave some out: "
                         f"measure parts of {LEAST_FAMILIES} or more kinds by `profile`")
    problem = _Problem(model, OperatorArrays.of([part.operators for part in parts], model.kinds),
                       np.array([part.measured_ns for part in parts]),
                       _numbered([part.family for part in parts]))
    everything = np.ones(len(parts), bool)
    moved, learned = problem.solve(everything)
    report = _report(problem, moved, learned)
    return _fitted(model, problem.names, moved, report, measured_on), report


@dataclass(frozen=True, eq=False)
class _Problem:
    model: DeviceModel
    arrays: OperatorArrays
    measured: Floats
    family: npt.NDArray[np.intp]

    @property
    def names(self) -> tuple[str, ...]:
        return self.model.assumed

    def predict(self, moved: Floats) -> Floats:
        """Latency of every part where assumed parameters are moved by factors e**moved."""
        values = values_of(self.model)
        return self.arrays.predict_ns(values | {n: values[n] * float(np.exp(m)) for n, m in zip(self.names, moved,
                                                                                               strict=True)})

    def solve(self, known: npt.NDArray[np.bool_]) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """Moves of the assumed parameters that explain the `known` parts, and which moves these determine."""
        prior = np.log(PRIOR_FACTOR)

        def residuals(moved: Floats) -> Floats:
            error = np.log(self.predict(moved)[known] / self.measured[known]) / _NOISE
            soft = np.sign(error) * np.sqrt(2 * (np.sqrt(1 + error**2) - 1))
            return np.concatenate([soft, moved / prior])

        found = least_squares(residuals, np.zeros(len(self.names)))
        spread = np.sqrt(np.diag(np.linalg.inv(found.jac.T @ found.jac)))
        return found.x, spread < _LEARNED * prior

    def left_out_errors(self) -> Floats:
        """Error on every part by a fit without it, as a share of its latency."""
        errors = np.empty(len(self.measured))
        folds = (np.random.default_rng(0).permutation(self.family.max() + 1) % FOLDS)[self.family]
        for fold in np.unique(folds):
            moved, _ = self.solve(folds != fold)
            errors[folds == fold] = self.errors(moved)[folds == fold]
        return errors

    def errors(self, moved: Floats) -> Floats:
        return np.asarray(np.abs(self.predict(moved) / self.measured - 1))


def stored_parts(store: Store, targets: Sequence[str], provenances: Sequence[Provenance]) -> list[FitPart]:
    """The newest figure of every key and device in the store whose operators are known; refuted ones are left out.

    Raises:
        InputError: the store can't be read.
    """
    newest: dict[tuple[str, str], FitPart] = {}
    for kept in store.find(targets=targets, provenances=provenances):
        taken = kept.measurement
        operators = store.operators(taken.key)
        if operators is not None and (taken.verdict is None or taken.verdict.kind != "REFUTED"):
            newest[taken.key, taken.identity.fingerprint] = FitPart(operators, taken.median_ns)
    return list(newest.values())


def _report(problem: _Problem, moved: Floats, learned: npt.NDArray[np.bool_]) -> FitReport:
    after, before = problem.left_out_errors(), problem.errors(np.zeros(len(moved)))
    values = values_of(problem.model)
    parameters = tuple(
        FittedParameter(name, values[name], values[name] * float(np.exp(move)), bool(sure))
        for name, move, sure in zip(problem.names, moved, learned, strict=True)
    )
    return FitReport(
        len(problem.measured), float(np.median(after)), float(np.quantile(after, 0.9)), float(np.median(before)),
        float(np.quantile(before, 0.9)), parameters,
    )


def _fitted(
    model: DeviceModel, names: Sequence[str], moved: Floats, report: FitReport, measured_on: str
) -> DeviceModel:
    changed = {}
    for name, move, what in zip(names, moved, report.parameters, strict=True):
        old: Parameter = getattr(model.parameters, name)
        how = "fitted" if what.determined else "assumed: moved along, but not determined, by a fit"
        source = f"{how} to {report.parts} parts {measured_on}; began at {old.value:g} ({old.source})"
        changed[name] = msgspec.structs.replace(old, value=old.value * float(np.exp(move)), source=source)
    return msgspec.structs.replace(model, parameters=msgspec.structs.replace(model.parameters, **changed))


def _numbered(names: Sequence[str]) -> npt.NDArray[np.intp]:
    """Equal names, equal numbers, from 0 in the order of the names."""
    return np.unique(np.array(names), return_inverse=True)[1].astype(np.intp)
