"""Parameters' buffers, and the locks under which programs use them."""
