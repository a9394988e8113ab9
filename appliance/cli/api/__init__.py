"""`pileus api` and `pileus shell`: any command of the API from a terminal, through the stock client `cs`."""
