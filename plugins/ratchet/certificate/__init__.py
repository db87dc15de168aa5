"""Certificates: what a decision's record holds, its replay from the record alone, and its pages. No I/O."""
