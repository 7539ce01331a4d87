"""Whether a second thread makes a step of training sooner, by input size: seconds with one over seconds with two.

Run: python benchmarks/training/threads.py [--batch 8] [--steps 6]. On an idle machine; the steps alternate.
"""

import argparse
import os
import time

import torch
from passive import wait_as_the_product

from pipeline.model import build_model, design_model
from pipeline.training.threads import SMALL_STEP

SIDES = (64, 96, 128, 192, 256)


def seconds(side: int, batch: int, steps: int) -> list[float]:
    """Of one step of the backbone and the full network's head, with one thread and with two."""
    heads = ("lraspp-r1", "fcn-r4")
    spec = design_model(
        tuple("abcde"), (side, side), backbone="efficientnet_lite0", output_stride=16, exits=3, heads=heads
    )
    model = build_model(spec).to(memory_format=torch.channels_last).train()
    images = torch.randn(batch, 3, side, side).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters())
    spent = [0.0, 0.0]
    for step in range(-2, 2 * steps):
        torch.set_num_threads(1 + step % 2)
        begun = time.perf_counter()
        model.reference(model.forward_features(images)[-1]).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        if step >= 0:
            spent[step % 2] += (time.perf_counter() - begun) / steps
    return spent


def main() -> None:
    """One line a size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=6)
    arguments = parser.parse_args()
    print(f"{os.cpu_count()} cores, torch {torch.__version__}; up to {SMALL_STEP} pixels a step one thread is taken")
    for side in SIDES:
        one, two = seconds(side, arguments.batch, arguments.steps)
        print(f"{side}x{side}, {arguments.batch * side * side} pixels: {one:.3f} s, {two:.3f} s: {one / two:.2f}x")


if __name__ == "__main__":
    wait_as_the_product()
    main()
