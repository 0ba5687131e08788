"""Fields of medicine that specialise the core; each is complete in its folder."""
