"""Answers as pure functions of the state and the request, named as the wire names them."""
