"""Every order in which a network can lose, repeat and delay packets, one by one.

`parties` makes steps of the real switch pipeline and the real host window; `search`
tries all of them; `report` puts what it finds into words.
"""
