"""The process tree of `perennial up`: start, watch, restart and stop the processes of one workspace."""
