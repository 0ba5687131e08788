"""Metrics of surgical workflow: pure functions on class ids, all values in percent.

A *video* is two int64 arrays of the same length, truth and prediction, class ids from 0. A *cell*
is one phase of one video. The same predictions differ by several points between the protocols of
the field, so each has its name.
"""
