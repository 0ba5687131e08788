"""Label tables, draws of few labels, probes and fine-tuning."""
