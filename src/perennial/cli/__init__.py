"""The command line: one thin module for each verb or noun, imported only when it is used."""
