-- Version 1. Amounts are cents, times are milliseconds since 1970 (UTC).

CREATE TABLE dishes (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    price_cents INTEGER NOT NULL CHECK (price_cents > 0),
    -- The last line of defence: a transaction that oversells cannot commit.
    stock INTEGER NOT NULL CHECK (stock >= 0)
) STRICT;

CREATE TABLE orders (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL,
    status TEXT NOT NULL
        CHECK (status IN ('pending_payment', 'paid', 'cancelling', 'cancelled')),
    cancel_reason TEXT
        CHECK (cancel_reason IN ('payment_declined', 'payment_timed_out')),
    total_cents INTEGER NOT NULL CHECK (total_cents > 0),
    created_at INTEGER NOT NULL,
    -- When the background settlement looks at the order next.
    due_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE INDEX unsettled_orders ON orders (due_at)
    WHERE status IN ('pending_payment', 'cancelling');

CREATE TABLE order_items (
    order_id TEXT NOT NULL REFERENCES orders (id),
    dish_id INTEGER NOT NULL REFERENCES dishes (id),
    quantity INTEGER NOT NULL CHECK (quantity > 0),
    price_cents INTEGER NOT NULL,
    PRIMARY KEY (order_id, dish_id)
) STRICT, WITHOUT ROWID;

-- What a key was used for, and what came of it: an order, or a refusal.
CREATE TABLE idempotency_keys (
    key TEXT PRIMARY KEY,
    request TEXT NOT NULL,
    order_id TEXT REFERENCES orders (id),
    refusal TEXT,
    created_at INTEGER NOT NULL,
    CHECK ((order_id IS NULL) <> (refusal IS NULL))
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);

PRAGMA user_version = 1;
