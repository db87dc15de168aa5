"""What `make bench-*` measure: ratios within one run, each against its target."""
