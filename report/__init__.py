"""What do the observations mean? Reads results/, does all arithmetic, draws; never measures."""
