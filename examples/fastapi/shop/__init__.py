"""A shop that accepts orders over HTTP, and writes their invoices in a worker."""
