"""``histoscope score``: text files of truth and prediction, ours or another group's, to metrics."""
