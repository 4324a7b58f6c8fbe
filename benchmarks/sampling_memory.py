"""Peak memory of sampling and measuring many images on a CPU: streamed, so it does not grow.

    python benchmarks/sampling_memory.py --images 50000 --network mnist.safetensors --lenet lenet.safetensors

One Euler step per image keeps it short; memory does not depend on the number of steps.  Without files a
network and a classifier with random weights are used.  The limit is 2 GiB for 50,000 images.
"""

import argparse
import resource
import time

import torch
from networks import SHIPPED, shipped

from art_rl.denoisers.unet import UNetDenoiser, load_model
from art_rl.metrics.features import lenet_features
from art_rl.metrics.lenet import LeNet
from art_rl.sampling.cells import measure_seeds
from art_rl.sampling.experiment import Experiment
from art_rl.sampling.measures import FeatureMoments
from art_rl.schedules.schedule import Schedule


def peak() -> float:
    """Largest resident size of this process so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Sample, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--model", choices=sorted(SHIPPED), default="mnist")
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--batch", type=int, default=250)
    parser.add_argument("--network")
    parser.add_argument("--lenet")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = (
        load_model(arguments.network)
        if arguments.network
        else UNetDenoiser(shipped(arguments.model), 0.6).eval()
    )
    lenet = lenet_features(arguments.lenet or LeNet(model.shape[-1]).eval())
    levels = [80.0 * (1 - k / arguments.steps) for k in range(arguments.steps)] + [0.0]
    before, began = peak(), time.process_time()
    part = measure_seeds(
        Experiment("m", model, 0.002, 80.0, "noise"),
        Schedule(tuple(levels)),
        "euler",
        range(arguments.images),
        [FeatureMoments(lenet, lambda moments: 0.0, "LeNet-FID")],
        arguments.batch,
    )
    print(
        f"{len(part.seeds)} images of {model.shape}, batch {arguments.batch}: peak {peak():.0f} MiB "
        f"({before:.0f} MiB before sampling), {time.process_time() - began:.0f} CPU seconds"
    )


if __name__ == "__main__":
    main()
