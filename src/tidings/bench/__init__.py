"""`tidings bench`: measures the service on the machine it is on, each figure beside its ceiling.

`running.run` is the entry. One file a figure: `accept`, `bulk`, `deliver`, `sockets`, `latency`. The processes
that take part: `server` (the service), `load` (whoever calls it), `gateway` and `bare` (who writes frames), and
the emulators. `docs/bench.md` says how to read the outcome.
"""
