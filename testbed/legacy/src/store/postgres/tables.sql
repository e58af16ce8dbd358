-- What: the tables of the reference legacy, in a schema of their own. `accounts` and `transactions` are those of the
--       service that it stands for (roadmap, weeks 11 and 12), with text for ids, exact numbers with checks, and times
--       with a zone; the others hold what it needs to answer a retry, and to be honest about its faults.
-- When: run at every start, by the one process that holds the lock on this database. Everything that is there stays as
--       it is.
-- Back: DROP SCHEMA legacy CASCADE. Unlike a projection, this is the truth.
--
-- Balances have no limits here: some faults that the legacy makes on purpose break them.
-- Free text of clients may hold U+0000, which no text here can: U+0001 U+0030 stands for it, and U+0001 U+0031 for
-- U+0001. JSON needs no such thing, it has escapes of its own.

CREATE SCHEMA IF NOT EXISTS legacy;

CREATE TABLE IF NOT EXISTS legacy.accounts (
    account_id   text COLLATE "C" PRIMARY KEY CHECK (account_id ~ '^[A-Za-z0-9._:-]{1,64}$'),
    owner_id     text             NOT NULL,
    owner_type   text             NOT NULL,
    account_type text             NOT NULL CHECK (account_type IN ('USER', 'EXTERNAL', 'SYSTEM')),
    balance      numeric(40, 8)   NOT NULL,
    currency     text             NOT NULL CHECK (currency ~ '^[A-Z]{3,10}$'),
    status       text             NOT NULL CHECK (status IN ('ACTIVE', 'FROZEN', 'CLOSED')),
    min_balance  numeric(27, 8),
    max_balance  numeric(27, 8),
    -- Counts the changes of this row.
    version      bigint           NOT NULL CHECK (version > 0),
    metadata     json,
    created_at   timestamptz      NOT NULL,
    updated_at   timestamptz      NOT NULL DEFAULT now(),
    CHECK (min_balance <= max_balance),
    CHECK (account_type <> 'USER' OR min_balance >= 0)
);

-- The number in a transaction's id. It has gaps: a number is given out once, also when nothing comes of it.
CREATE SEQUENCE IF NOT EXISTS legacy.transaction_sequence;

CREATE TABLE IF NOT EXISTS legacy.transactions (
    transaction_id         text           PRIMARY KEY,
    sequence               bigint         NOT NULL UNIQUE CHECK (sequence > 0),
    -- Unique for a tenant and a deciding account, unless the legacy does not deduplicate: see `idempotency_keys`.
    idempotency_key        text           NOT NULL,
    type                   text           NOT NULL CHECK (type IN ('topup', 'withdraw', 'transfer', 'refund')),
    -- As they were named: a refused transaction may name an account that is not there, or none.
    source_account_id      text           NOT NULL,
    destination_account_id text           NOT NULL,
    amount                 numeric(20, 8) NOT NULL CHECK (amount >= 0),
    currency               text           NOT NULL,
    status                 text           NOT NULL CHECK (status IN ('completed', 'failed')),
    error_code             text,
    -- How much of it was refunded since.
    refunded               numeric(20, 8) NOT NULL DEFAULT 0 CHECK (refunded BETWEEN 0 AND amount),
    created_at             timestamptz    NOT NULL,
    completed_at           timestamptz    NOT NULL,
    -- Whether there was such an account when it was decided: it stands in the history of those.
    source_known           boolean        NOT NULL,
    destination_known      boolean        NOT NULL,
    -- What the client was told, or would have been: movements, balances before and after, reference, metadata.
    result                 json           NOT NULL,
    CHECK ((status = 'failed') = (error_code IS NOT NULL))
);
CREATE INDEX IF NOT EXISTS transactions_source
    ON legacy.transactions (source_account_id, sequence DESC) WHERE source_known;
CREATE INDEX IF NOT EXISTS transactions_destination
    ON legacy.transactions (destination_account_id, sequence DESC) WHERE destination_known;
CREATE INDEX IF NOT EXISTS transactions_created ON legacy.transactions (created_at, sequence);

-- What was asked for under a key, and the answer as it went out. Without deduplication: the first that was applied.
CREATE TABLE IF NOT EXISTS legacy.idempotency_keys (
    tenant          text    NOT NULL,
    idempotency_key text    NOT NULL,
    -- The deciding account; of a refund of an unknown transaction, the id of that.
    account_id      text    NOT NULL,
    content         json    NOT NULL,
    status          integer NOT NULL,
    body            text    NOT NULL,
    -- Absent for a new account.
    transaction_id  text,
    PRIMARY KEY (tenant, idempotency_key, account_id)
);

-- How often a key was executed, whatever came of it. Counted only without deduplication.
CREATE TABLE IF NOT EXISTS legacy.executions (
    tenant          text   NOT NULL,
    idempotency_key text   NOT NULL,
    account_id      text   NOT NULL,
    times           bigint NOT NULL CHECK (times > 0),
    PRIMARY KEY (tenant, idempotency_key, account_id)
);

-- The fault ledger: what was done to which request on purpose.
CREATE TABLE IF NOT EXISTS legacy.faults (
    number          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    idempotency_key text NOT NULL,
    kind            text NOT NULL,
    account_id      text NOT NULL,
    tenant          text NOT NULL,
    transaction_id  text
);
