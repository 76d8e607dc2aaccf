"""The pages: made on the server, without script, for people who decide."""
