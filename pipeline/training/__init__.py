"""Two-stage training of a multi-exit network (MESS, arXiv 2106.03527). Importing the package loads no torch."""

from pipeline.training.schedule import StageSchedule, TrainingMethod, TrainingSchedule

__all__ = ["StageSchedule", "TrainingMethod", "TrainingSchedule"]
