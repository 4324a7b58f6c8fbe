"""One module per kind of model: ``build`` makes its `art_rl.sampling.experiment.Experiment`.

A new kind is a module here, its line in `art_rl.registry.KINDS` and its settings.
"""
