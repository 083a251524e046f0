"""Functions over images [batch, channels, places...]: windows, pools, sizes, places."""
