"""Virtual time: the real switch pipeline and host windows, joined by modelled links."""
