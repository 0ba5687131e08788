"""Contract suites that a plug-in's tests can import."""
