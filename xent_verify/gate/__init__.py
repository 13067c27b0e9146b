"""The gate: settings, baseline, comparison of results, a first settings file."""
