"""What happened when asked: Cases in, Records out. `pytest benchmarks` runs the sweep."""
