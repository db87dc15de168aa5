"""What each task does, without Airflow: read, call the core, write. One module a stage.

A stage takes its time from its arguments, returns a small summary of counts, keys and dates, and may be run
again: what it wrote before it finds, and changes nothing.
"""
