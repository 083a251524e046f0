"""Programs of JAX: a table of the primitives of ``jax.lax`` as functions of staticgrad."""
