"""An audit from the plan to the findings, of one target or of many."""
