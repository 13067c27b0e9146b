"""What an answer is worth: limits and policies, errors, conventions, classes, causes and defects."""
