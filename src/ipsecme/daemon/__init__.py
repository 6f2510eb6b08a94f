"""The daemon: the one place where engine, data plane, sockets, control and logs meet (asyncio)."""
