"""Several processes of one training, on one node or several: that all of them see one folder."""

import secrets
from pathlib import Path

import torch

from device_profiler.errors import InputError
from pipeline.training.engine import Engine


def check_one_folder(folder: Path, engine: Engine) -> None:
    """Every process must see the states and the checkpoint that the first one writes.

    Raises:
        InputError: `folder` is another one on some node; raised in every process.
    """
    folder.mkdir(parents=True, exist_ok=True)
    token = folder / f"seen-by-all-{_number_of_all(engine)}"
    if engine.rank == 0:
        token.touch()
    engine.wait()
    seen = torch.tensor([float(token.exists())], device=engine.device)
    engine.average([seen])
    if engine.rank == 0:
        token.unlink()
    if float(seen) < 1:
        raise InputError(f"{folder} is not one and the same folder for all {engine.processes} processes: on every node "
                         "give the same data and schedule, and let XDG_CACHE_HOME (of shares: --together) name one "
                         "folder that all of them share")


def _number_of_all(engine: Engine) -> int:
    """A random number, the same in every process: other trainings may look into the same folder at the same time."""
    number = torch.tensor([float(secrets.randbelow(2**20) if engine.rank == 0 else 0)], device=engine.device)
    engine.average([number])
    return round(float(number) * engine.processes)
