"""One module per verb of the command line: options in, calls, exit status out; no logic."""
