"""Reports that a person reads: one self-contained page each."""

from histoscope.apps.report.evaluation_report import write_evaluation_report
from histoscope.apps.report.predict_report import write_predict_report

__all__ = ["write_evaluation_report", "write_predict_report"]
