"""The Kernel form: stages of loops over scalar expressions; its text and its verifier."""
