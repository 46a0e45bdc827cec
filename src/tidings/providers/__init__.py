"""Adapters to vendor protocols, one file each, all keeping the contract in `contract.py`."""
