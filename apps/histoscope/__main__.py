"""``python -m histoscope`` is the command line, for machines without the script on the path."""

from histoscope.apps.cli import entry

entry()
