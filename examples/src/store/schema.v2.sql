-- Version 2, for SQLite and PostgreSQL: what the kitchens have to cook, and when it was done.

CREATE TABLE tickets (
    order_id TEXT PRIMARY KEY REFERENCES orders (id),
    paid_at BIGINT NOT NULL,
    cooked_at BIGINT
);

CREATE INDEX open_tickets ON tickets (paid_at) WHERE cooked_at IS NULL;
