"""From a graph to a compiled program, and what it would cost under other budgets and dtypes."""
