"""One module per kind of model: ``denoiser`` and ``measures`` of its `art_rl.sampling.experiment.Experiment`.

A new kind is a module here, its line in `art_rl.registry.KINDS` and its settings.
"""
