"""What every domain shares: contracts, data, objectives, training, few labels, packages."""

__version__ = "0.1.0"
