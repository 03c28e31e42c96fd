"""``featherface bench``: how long networks take beside each other, where the time goes, and how far from the machine's limit."""
