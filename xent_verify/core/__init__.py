"""What everything stands on: formats, calls and results as values, failures, files, processes."""
