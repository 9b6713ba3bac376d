"""Pictures from files to one `ImageSet`, and on to splits; never imports jax."""
