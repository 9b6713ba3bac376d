"""Pure-functional Linen modules that the networks are made of, one kind a file."""
