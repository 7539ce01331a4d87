"""A source's images as a network that takes camera frames sees them: what is searched is what is shipped."""

from dataclasses import replace

from mobile_export.frame_images import frame_of, shrunk
from pipeline.data.arrays import ArrayFolder
from pipeline.data.source import Bytes, DataSource, Size, SplitName
from pipeline.sources import graph_code
from pipeline.workspace import Workspace, content_key

HELD_OUT: tuple[SplitName, ...] = ("search", "certify", "test")


def as_seen(source: DataSource, frame: Size, workspace: Workspace) -> DataSource:
    """`source` with the images of search, certify and test enlarged to `frame` (height, width) and shrunk again.

    The train split stays: the network was trained before.

    Raises:
        InputError: the frame's sides are no whole multiples of the network's.
    """
    key = content_key("seen", source.fingerprint, frame, graph_code())
    folder = ArrayFolder(workspace.kept("seen", key))

    def make(name: SplitName, index: int) -> tuple[Bytes, Bytes]:
        sample = source.split(name)[index]
        return shrunk(frame_of(sample.image, frame), source.size), sample.mask

    ids = {name: source.split(name).ids if name in HELD_OUT else () for name in ("train", *HELD_OUT)}
    splits = folder.load()
    if splits is None:
        title, mask_size = "camera frames for the images", source.label_size
        folder.build(ids, source.size, make, title, workspace.progress, mask_size)
        splits = folder.load()
        assert splits is not None
    return replace(
        source, search=splits["search"], certify=splits["certify"], test=splits["test"], fingerprint=key
    )
