"""The pretraining loop, its schedule, checkpoints and curves."""
