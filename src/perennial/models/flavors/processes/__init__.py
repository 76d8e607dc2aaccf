"""Models that answer in a process of another language: the process, what is said to it, and the programs it runs."""
