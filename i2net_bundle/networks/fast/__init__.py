"""The fast forms of the network's parts."""
