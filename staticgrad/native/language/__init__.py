"""The kernel language to LLVM IR: sources are read, every word has a kind and its instructions."""
