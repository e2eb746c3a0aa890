"""Send tasks for a large tenant and two small ones, and wait for their results."""

from collections import Counter

from fetching import fetch_order, queue

ORDERS = {"big": 6, "small-1": 3, "small-2": 3}


def main() -> None:
    """Send all tasks of the large tenant first."""
    handles = [
        (tenant, fetch_order.send(tenant, number).unwrap())
        for tenant, count in ORDERS.items()
        for number in range(count)
    ]
    fetched: Counter[str] = Counter()
    attempts: Counter[str] = Counter()
    for tenant, handle in handles:
        fetched[tenant] += handle.get(timeout_ms=60_000).is_ok()
        info = handle.info().unwrap()
        attempts[tenant] += 0 if info is None else 1 + info.retry_count
    for tenant, count in ORDERS.items():
        print(f"{tenant}: {fetched[tenant]} of {count} orders in {attempts[tenant]} attempts")
    queue.close()


if __name__ == "__main__":
    main()
