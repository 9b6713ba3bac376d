"""Speed and accuracy, measured; each script has --help."""
