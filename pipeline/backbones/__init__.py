"""Backbones as chains of units between which an exit may sit: found by name or import path, cut by their graph."""

from pipeline.backbones.catalogue import find_network, native_stride
from pipeline.backbones.units import Backbone, build_backbone, outline_backbone
from pipeline.backbones.work import Size, check_size, count_macs, place_exits

__all__ = [
    "Backbone",
    "Size",
    "build_backbone",
    "check_size",
    "count_macs",
    "find_network",
    "native_stride",
    "outline_backbone",
    "place_exits",
]
