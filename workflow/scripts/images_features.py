"""LeNet, its accuracy, the training set's moments and the floor of LeNet-FID; feeds every FID table."""

from image_job import device_of, image_data
from rule_job import run

from art_rl.files import write_json
from art_rl.metrics.features import lenet_features
from art_rl.metrics.frechet import frechet_between
from art_rl.metrics.lenet import accuracy, save_lenet, train_lenet
from art_rl.settings.networks import LeNetSettings


def main(snakemake):
    data, device = image_data(snakemake), device_of(snakemake)
    settings = LeNetSettings(**snakemake.params.model.get("features", {}))
    model = train_lenet(data.train, data.train_labels, settings, device=device)
    right = accuracy(model, data.test, data.test_labels)
    save_lenet(snakemake.output.weights, model, right, settings)
    features = lenet_features(model, device)
    train, test = features.moments(data.train), features.moments(data.test)
    train.save(snakemake.output.train)
    floor = frechet_between(train, test)
    write_json(
        snakemake.output.floor,
        {
            "lenet_digest": model.digest,
            "lenet_accuracy": right,
            "fid_test_against_train": floor,
            "train_images": len(data.train),
            "test_images": len(data.test),
        },
    )


run(main, snakemake)  # noqa: F821
