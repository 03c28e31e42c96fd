"""``featherface bench``: times networks in turns, shows where the time goes, and compares with the machine's limits."""
