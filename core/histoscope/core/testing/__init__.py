"""What every part owes, as checks that plug-ins may run over theirs as well."""
