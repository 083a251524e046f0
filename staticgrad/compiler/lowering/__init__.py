"""From one fusion group to one kernel: its operands and loops, then the stages of its kind."""
