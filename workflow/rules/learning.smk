# ART-RL.
