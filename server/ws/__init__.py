"""`/ws`: the exchange's websocket for any number of clients, on a few sockets upstream."""
