"""GradBench's evals in the form that a user would write, and a tool that answers for them."""
