"""Data sources: images and masks at the deployment size, in four splits. No torch here."""

from pipeline.data.loading import load_source
from pipeline.data.source import SPLIT_NAMES, ClassList, DataAmounts, DataSource, Sample, Split, SplitName

__all__ = ["SPLIT_NAMES", "ClassList", "DataAmounts", "DataSource", "Sample", "Split", "SplitName", "load_source"]
