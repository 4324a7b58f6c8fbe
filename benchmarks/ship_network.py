"""Train the network that ships with a configuration, from nothing, and watch its images get better.

    python benchmarks/ship_network.py mnist --folder FOLDER --state scratch/mnist --every 1500

Settings are those of the shipped configuration, so the result is, to the last bit, the network that the
workflow trains without `trained` (same type of machine).  Every ``--every`` iterations the averaged network
is kept in the state folder and LeNet-FID of 1,000 images of Heun on EDM's grid (35 calls) is appended to
fid.jsonl; a killed run continues.  At the end the network and the record of its training (settings, losses,
FID by images seen) go to config/networks/.
"""

import argparse
import json
from math import gcd
from pathlib import Path

import numpy as np
import torch
from networks import SHIPPED, shipped_settings
from noise_distribution import quality

from art_rl.denoisers.unet import load_model, save_model
from art_rl.flow.seeds import one_hot
from art_rl.metrics.features import lenet_features
from art_rl.metrics.lenet import LeNetSettings, load_lenet, save_lenet, train_lenet
from art_rl.records import versions
from art_rl.settings.networks import TrainSettings, UNetConfig
from art_rl.training.datasets import load_data
from art_rl.training.score import train

ROOT = Path(__file__).parents[1]
# Points of the loss curve that the record keeps.
POINTS = 1000


def main() -> None:
    """Read the command line, train, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", choices=SHIPPED)
    parser.add_argument("--folder", help="MNIST's four files")
    parser.add_argument("--state", type=Path, required=True, help="resumable state and snapshots")
    parser.add_argument("--every", type=int, default=1500, help="iterations between snapshots")
    parser.add_argument("--count", type=int, default=1000, help="images per FID")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data = load_data(arguments.data, arguments.folder)
    chosen = shipped_settings(arguments.data)
    settings = TrainSettings(**chosen["training"])
    # A snapshot stops training as a kill does, which loses what was done since the last state.
    settings = settings.replace(checkpoint_every=gcd(settings.checkpoint_every, arguments.every))
    conditional = chosen.get("conditional", False)
    config = UNetConfig(
        shape=data.shape, label_dim=data.classes if conditional else 0, **chosen["network"]
    )
    labels = one_hot(data.train_labels, data.classes) if conditional else None
    folder: Path = arguments.state
    folder.mkdir(parents=True, exist_ok=True)
    done, record = 0, {}
    while done < settings.iterations:
        model, record = train(
            data.train,
            config,
            settings,
            data.sigma_data,
            labels,
            state_dir=folder / "state",
            stop_after=arguments.every,
        )
        done = record["iterations_done"]
        save_model(folder / f"net-{done:06d}.safetensors", model)
    lenet_path = folder / "lenet.safetensors"
    if not lenet_path.exists():
        lenet = train_lenet(data.train, data.train_labels, LeNetSettings())
        save_lenet(lenet_path, lenet, 0.0, LeNetSettings())
    lenet = load_lenet(lenet_path)
    target = lenet_features(lenet, "cpu").moments(data.train)
    log = folder / "fid.jsonl"
    rows = (
        [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
        if log.exists()
        else []
    )
    for path in sorted(folder.glob("net-*.safetensors")):
        images = int(path.stem.removeprefix("net-")) * settings.batch_size
        if any(row["images_seen"] == images for row in rows):
            continue
        found = quality(load_model(path), lenet, target, arguments.count)
        rows.append({"images_seen": images, "images": arguments.count, **found})
        with open(log, "a", encoding="utf-8") as file:
            file.write(json.dumps(rows[-1]) + "\n")
        print(json.dumps(rows[-1]), flush=True)
    curve = np.array(record.pop("loss"))
    width = max(len(curve) // POINTS, 1)
    means = curve[: len(curve) // width * width].reshape(-1, width).mean(1)
    kept = {
        **record,
        "data": arguments.data,
        "images_seen": done * settings.batch_size,
        "device": "cpu",
        "versions": versions(),
        "loss": [round(float(value), 5) for value in means],
        "loss_every": width,
        "fid_by_images": rows,
    }
    target_path = ROOT / "config/networks" / f"{arguments.data}.safetensors"
    target_path.parent.mkdir(exist_ok=True)
    print(save_model(target_path, model, kept))


if __name__ == "__main__":
    main()
