"""What ``sg.checkpoint`` keeps and what it computes again: policies, and marks on values."""
