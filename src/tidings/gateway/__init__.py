"""The WebSocket gateway: `protocol` (the words), `session` (the rules, no I/O), `upgrade` (who may connect),
`deadlines` (time), `hub` and `sockets` (the data path), `confirmations` (to the core), `server` (start and
stop)."""
