"""Which training noise, and do labels help?  LeNet-FID of the fine solution after equal training.

    python benchmarks/noise_distribution.py digits [--images 150000] [--threads 1]
    python benchmarks/noise_distribution.py mnist --folder FOLDER [--images 50000 100000 200000]

Every variant trains the network of the shipped configuration from the same seed on the same number of
images (ln sigma ~ N(P_mean, P_std^2)), then 1,000 images are made from the same noise by Heun on EDM's
grid (35 calls) and compared with the training set in LeNet features.  Conditional networks get labels
drawn per seed; the share of images that the LeNet gives back to their label is reported.  One JSON line
per variant and amount.
"""

import argparse
import json
import time
from pathlib import Path

import torch
from networks import SHIPPED, shipped_settings

from art_rl.denoisers.unet import UNetConfig, UNetDenoiser
from art_rl.flow.seeds import SeedNoise, one_hot, to_uint8
from art_rl.flow.solvers import solve
from art_rl.metrics.features import lenet_features
from art_rl.metrics.frechet import Moments, frechet_between
from art_rl.metrics.lenet import LeNet, LeNetSettings, train_lenet
from art_rl.schedules.hand_made import baseline_schedule
from art_rl.training.datasets import ImageData, load_data
from art_rl.training.score import TrainSettings, train

# (P_mean, P_std, class-conditional); the first is Karras et al. 2022, Table 1.
VARIANTS = [
    (-1.2, 1.2, False),
    (-1.2, 1.2, True),
    (0.0, 1.2, False),
    (0.0, 1.2, True),
    (0.5, 1.2, False),
    (0.5, 1.2, True),
]
STEPS = 18
BATCH = 250


@torch.no_grad()
def fine_images(model: UNetDenoiser, count: int) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Heun's images of seeds 0 .. count - 1, (count, *shape), and their classes (None: unconditional)."""
    schedule = baseline_schedule("edm", STEPS, 80.0, 0.002, model.sigma_data)
    images, classes = [], []
    for first in range(0, count, BATCH):
        noise = SeedNoise(range(first, min(first + BATCH, count)), model.shape, model.label_dim)
        start = schedule.sigma_max * noise.latents
        images.append(solve(model, start, schedule, "heun", noise.class_labels))
        classes.append(noise.class_indices)
    return torch.cat(images), torch.cat(classes) if model.label_dim else None


def quality(model: UNetDenoiser, lenet: LeNet, target: Moments, count: int) -> dict[str, float]:
    """LeNet-FID of the fine solution, and the share of images classified as their label."""
    images, classes = fine_images(model, count)
    features = lenet_features(lenet, "cpu")
    found = {"fid": frechet_between(target, features.moments(images))}
    if classes is not None:
        with torch.no_grad():
            found["label_share"] = float(
                (lenet(to_uint8(images)).argmax(1) == classes).double().mean()
            )
    return found


def measure(
    data: ImageData,
    name: str,
    images: int,
    variant: tuple[float, float, bool],
    count: int,
    lenet: LeNet,
    target: Moments,
) -> dict:
    """Train one variant on ``images`` images and measure it."""
    P_mean, P_std, conditional = variant
    shipped = shipped_settings(name)
    config = UNetConfig(
        shape=data.shape, label_dim=data.classes if conditional else 0, **shipped["network"]
    )
    batch = shipped["training"]["batch_size"]
    settings = TrainSettings(
        iterations=images // batch,
        batch_size=batch,
        learning_rate=shipped["training"]["learning_rate"],
        ema_halflife=shipped["training"]["ema_halflife"],
        P_mean=P_mean,
        P_std=P_std,
    )
    labels = one_hot(data.train_labels, data.classes) if conditional else None
    began = time.process_time()
    model, record = train(data.train, config, settings, data.sigma_data, labels, progress=False)
    seconds = time.process_time() - began
    return {
        "data": name,
        "P_mean": P_mean,
        "P_std": P_std,
        "conditional": conditional,
        "images_seen": settings.iterations * batch,
        "train_cpu_s": round(seconds, 1),
        "loss": record["final_loss"],
        "images": count,
        **quality(model, lenet, target, count),
    }


def main() -> None:
    """Read the command line, measure, print a line per variant."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", choices=SHIPPED)
    parser.add_argument("--folder", help="MNIST's four files")
    parser.add_argument("--images", type=int, nargs="+", help="images seen in training")
    parser.add_argument("--count", type=int, default=1000, help="images per FID")
    parser.add_argument("--variants", type=int, nargs="+", help="numbers of the variants, from 0")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="append the JSON lines here too")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    data = load_data(arguments.data, arguments.folder)
    lenet = train_lenet(data.train, data.train_labels, LeNetSettings(), progress=False)
    features = lenet_features(lenet, "cpu")
    target = features.moments(data.train)
    few = data.test[: arguments.count]
    floor = frechet_between(target, features.moments(few))
    print(f"floor: FID of {len(few)} held-out images {floor:.2f}")
    amounts = arguments.images or {"digits": [150_000], "mnist": [50_000]}[arguments.data]
    variants = [VARIANTS[i] for i in arguments.variants or range(len(VARIANTS))]
    for images in amounts:
        for variant in variants:
            row = measure(data, arguments.data, images, variant, arguments.count, lenet, target)
            print(json.dumps(row), flush=True)
            if arguments.out:
                with open(arguments.out, "a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
