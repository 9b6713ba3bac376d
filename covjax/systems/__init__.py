"""What a paper builds from more than one network."""
